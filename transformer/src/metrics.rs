//! What the transformer counts, per connection.

cmsync_schemas::declare_metrics! {
    /// Changes that became records.
    changes: Counter = "cmsync_transformer_changes_total";
    /// Records made.
    records: Counter = "cmsync_transformer_records_total";
    /// Records and messages set aside.
    dead_letters: Counter = "cmsync_transformer_dead_letters_total";
    /// Messages of the changes that the queue deleted before they were taken; everything is sent whole.
    lost: Counter = "cmsync_transformer_messages_lost_total";
}
