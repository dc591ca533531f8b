//! Whether the computer groups in the workspace are those of the site.

use std::collections::BTreeSet;

use crate::server::Lab;

/// A group's text, as far as the lab reads it: the names of a static group, or `None` for one that
/// reads the tables of this site and collection. `tests/kql` evaluates the texts for real.
fn names(query: &str, site: &str, id: &str) -> Result<Option<BTreeSet<String>>, String> {
    if let Some(rest) = query.strip_prefix("datatable(Computer:string)[") {
        let list = rest.strip_suffix("] | distinct Computer").ok_or("not a static group's text")?;
        let json = format!("[{}]", list.replace('\'', "\""));
        let names: Vec<String> = serde_json::from_str(&json).map_err(|e| e.to_string())?;
        return Ok(Some(names.into_iter().collect()));
    }
    let is_filtered = query.contains(&format!("SiteCode == '{site}' and GroupId == '{id}'"));
    if is_filtered { Ok(None) } else { Err("neither static nor of this collection".into()) }
}

impl Lab {
    /// How the groups differ from the site's collections, in words. Functions are as true as the
    /// tables, which [`Lab::compare`] looks at.
    pub fn compare_groups(&self, collections: &[String]) -> Vec<String> {
        let (world, resources) = (self.world(), self.resources());
        let site = world.plan.site.clone();
        let mut differences = Vec::new();
        let mut wanted = BTreeSet::from(["ConfigMgrComputerGroup".to_owned()]);
        for id in collections {
            let alias = format!("CMG_{site}_{id}");
            wanted.extend([alias.clone(), format!("CMG_{id}")]);
            let Some(search) = resources.by_alias(&alias) else {
                differences.push(format!("{alias}: missing"));
                continue;
            };
            let short = resources.by_alias(&format!("CMG_{id}")).map(|s| s["query"].clone());
            if short != Some(format!("{alias} | distinct Computer").into()) {
                differences.push(format!("CMG_{id}: {short:?}"));
            }
            let name = &world.collections[id].name;
            let shown = search["displayName"].as_str().unwrap_or_default();
            if shown != format!("{name} ({site} {id})") {
                differences.push(format!("{alias}: shown as {shown:?}"));
            }
            let computers = world.computers(id);
            let computers = computers.values();
            let expected: BTreeSet<String> =
                computers.flat_map(|d| [Some(d.name.clone()), d.fqdn()]).flatten().collect();
            match names(search["query"].as_str().unwrap_or_default(), &site, id) {
                Ok(Some(found)) if found != expected => differences.push(format!(
                    "{alias}: {} names, {} of the {} expected",
                    found.len(),
                    found.intersection(&expected).count(),
                    expected.len()
                )),
                Ok(_) => {}
                Err(error) => differences.push(format!("{alias}: {error}")),
            }
        }
        let extra = resources.aliases().into_iter().filter(|alias| !wanted.contains(alias));
        differences.extend(extra.map(|alias| format!("{alias}: a group that is not kept")));
        differences
    }
}
