//! What is counted of tokens.

cmsync_telemetry::label! {
    /// How a request for a token ended.
    pub(crate) enum Asked: "outcome" {
        /// With a token.
        Granted = "granted",
        /// Somebody must act: secret, certificate, identity.
        Refused = "refused",
        /// Nobody answered, or with a failure of its own.
        Unavailable = "unavailable",
    }
}

cmsync_telemetry::declare! {
    all {
        /// Tokens that were asked for; one lasts about an hour.
        tokens: Counter[Asked] = "cmsync_azure_tokens_total";
    }
}
