//! Where Kerberos finds its keys: the library reads them from the environment of the process, which is
//! set by starting anew with it.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use crate::config::{Config, Kafka, Site, raw};

/// Where tickets of a keytab are kept: in this process's memory alone.
const MEMORY: &str = "MEMORY:cmsync";

/// What the environment has to say for these accounts.
fn wanted<'a>(
    accounts: impl Iterator<Item = &'a raw::Kerberos>,
) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let mut wanted: BTreeMap<&'static str, String> = BTreeMap::new();
    for account in accounts {
        let pairs = match (&account.keytab, &account.ticket_cache) {
            (Some(keytab), _) => {
                let keytab = std::path::absolute(keytab)?;
                vec![
                    ("KRB5_CLIENT_KTNAME", format!("FILE:{}", keytab.display())),
                    ("KRB5CCNAME", MEMORY.to_owned()),
                ]
            }
            (None, cache) => vec![("KRB5CCNAME", cache.clone().unwrap_or_default())],
        };
        for (name, value) in pairs {
            if wanted.get(name).is_some_and(|other| *other != value) {
                bail!(
                    "all Kerberos accounts of one cmsync must use one keytab, or one ticket cache: put \
                     their keys into one keytab with ktutil"
                );
            }
            wanted.insert(name, value);
        }
    }
    Ok(wanted)
}

/// Starts this program anew where its environment does not say yet where the keys of the brokers'
/// account, and with `sites` those of theirs, are.
pub(crate) fn enter(config: &Config, sites: bool) -> anyhow::Result<()> {
    enter_for(accounts(config, sites)?.into_iter())
}

/// Whether the environment says it already.
pub(crate) fn is_entered(config: &Config, sites: bool) -> anyhow::Result<bool> {
    Ok(is_set(&wanted(accounts(config, sites)?.into_iter())?))
}

/// The accounts of a configuration.
fn accounts(config: &Config, sites: bool) -> anyhow::Result<Vec<&raw::Kerberos>> {
    let brokers = config.kafka.iter().filter_map(Kafka::account);
    let databases = config.connections.values().filter(|_| sites).map(|c| &c.site);
    let databases = databases.filter(|site| site.is_sql()).filter_map(Site::account);
    let sites = config.connections.values().filter(|_| sites);
    let accounts: Vec<_> = brokers.clone().chain(sites.filter_map(|c| c.site.account())).collect();
    // Towards brokers and databases the library takes the first that it finds.
    let one = brokers.clone().chain(databases).next();
    if let Some(other) = one.and_then(|one| accounts.iter().find(|a| a.principal != one.principal))
    {
        bail!(
            "brokers, site databases and sites must be signed in to as one principal, and `{}` is another",
            other.principal
        );
    }
    Ok(accounts)
}

fn is_set(wanted: &BTreeMap<&'static str, String>) -> bool {
    wanted.iter().all(|(name, value)| std::env::var(name).is_ok_and(|found| found == *value))
}

/// The same for a site alone.
pub(crate) fn enter_site(site: &Site) -> anyhow::Result<()> {
    enter_for(site.account().into_iter())
}

/// The same for accounts as they are written.
pub(crate) fn enter_for<'a>(
    accounts: impl Iterator<Item = &'a raw::Kerberos>,
) -> anyhow::Result<()> {
    let wanted = wanted(accounts)?;
    if is_set(&wanted) {
        return Ok(());
    }
    Err(crate::platform::start_anew(&wanted))
        .context("failed to start anew with the keys of Kerberos")
}
