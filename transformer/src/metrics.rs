//! What the transformer counts, per connection.

cmsync_schemas::declare_metrics! {
    /// Changes that became records.
    changes: Counter = "cmsync_transformer_changes_total";
    /// Records made.
    records: Counter = "cmsync_transformer_records_total";
    /// Records and messages set aside.
    dead_letters: Counter = "cmsync_transformer_dead_letters_total";
}
