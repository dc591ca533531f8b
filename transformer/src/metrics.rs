//! What the transformer counts.

cmsync_telemetry::label! {
    /// Why something was set aside.
    pub(crate) enum Aside: "reason" {
        /// In no known framing, or not of its schema.
        Undecodable = "undecodable",
        /// A value that no column can hold.
        FieldTooLarge = "field_too_large",
    }
}

cmsync_telemetry::declare! {
    all {
        /// Changes that became records.
        changes: Counter = "cmsync_transformer_changes_total";
        /// Records made.
        records: Counter = "cmsync_transformer_records_total";
        /// Records and messages set aside, by why.
        dead_letters: Counter[Aside] = "cmsync_transformer_dead_letters_total";
        /// Messages of the changes that the queue deleted before they were taken; everything is sent whole.
        lost: Counter = "cmsync_transformer_messages_lost_total";
    }
}
