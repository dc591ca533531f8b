//! Where a group is looked at: the text that asks for it, and the portal's page that opens that text.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cmsync_azure::Cloud;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A workspace in the portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    host: &'static str,
    tenant: String,
    resource_id: String,
}

impl Portal {
    /// The portal of a cloud; `None` without a resource id or a known portal.
    #[must_use]
    pub fn new(cloud: Cloud, tenant: &str, resource_id: Option<&str>) -> Option<Self> {
        let host = match cloud {
            Cloud::Public => "portal.azure.com",
            Cloud::UsGovernment => "portal.azure.us",
            Cloud::China => "portal.azure.cn",
            Cloud::Custom => return None,
        };
        Some(Self { host, tenant: tenant.to_owned(), resource_id: resource_id?.to_owned() })
    }

    /// The page that opens a text in the log search.
    ///
    /// The form is that of the links in Azure Monitor's alert mails: the text gzipped, as base64.
    #[must_use]
    pub fn link(&self, query: &str) -> Option<String> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(query.as_bytes()).ok()?;
        let packed = BASE64_STANDARD.encode(gzip.finish().ok()?);
        let encoded =
            |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let (host, tenant, id) = (self.host, &self.tenant, encoded(&self.resource_id));
        Some(format!(
            "https://{host}/#@{tenant}/blade/Microsoft_Azure_Monitoring_Logs/LogsBlade/resourceId/{id}/source/LogsBlade.AnalyticsShareLinkToQuery/q/{}/timespan/P1D",
            encoded(&packed)
        ))
    }
}

/// The text that asks for what a group's computers report. Names differ in case between agents and the
/// directory, so the comparison does not care for it.
#[must_use]
pub fn log_search(alias: &str) -> String {
    format!("Heartbeat | where Computer in~ ({alias})")
}
