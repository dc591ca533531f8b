//! From a group to the saved searches that show it.

use crate::Group;
use crate::kql::{self, Names};

/// What the portal lists them under.
const CATEGORY: &str = "ConfigMgr";
/// Tag of what cmsync made, with the site's code: nothing else is ever changed.
pub const OWNER_TAG: &str = "cmsync";
/// The function with the former table's columns.
pub const ALL: &str = "ConfigMgrComputerGroup";
/// Its tag: no site owns it, since it shows every site's.
pub const SHARED: &str = "*";
/// Characters of a display name.
const MAX_DISPLAY_NAME: usize = 300;

/// A saved search as it should be. Tagged `Group` = `Computer`, it is a computer group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Search {
    /// Its name within the workspace.
    pub id: String,
    /// What the portal lists it under.
    pub category: String,
    /// What people read.
    pub display_name: String,
    /// KQL.
    pub query: String,
    /// What queries call it by.
    pub function_alias: String,
    /// Names and values of its tags.
    pub tags: Vec<(String, String)>,
}

/// How groups are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Show {
    /// Which names a group gives.
    pub names: Names,
    /// How far back a group that is read from the tables looks, in days.
    pub days: u32,
    /// Whether no other hierarchy has groups in the workspace.
    pub is_alone: bool,
}

fn tag(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Whether a code can be part of an alias: letters, digits and underscores alone.
fn is_plain(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A name as people read it, without what would change how the rest of a line reads.
fn shown(name: &str) -> String {
    let is_mark = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let clean = name.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !is_mark(*c));
    clean.take(MAX_DISPLAY_NAME).collect()
}

/// The searches of a group: by site and collection, and by the collection alone where no other
/// hierarchy uses the workspace. None when its codes cannot be part of an alias.
#[must_use]
pub fn searches(group: &Group, show: Show) -> Vec<Search> {
    let (site, id) = (&group.site_code, &group.collection_id);
    if !is_plain(site) || !is_plain(id) {
        return Vec::new();
    }
    let query = if group.is_static {
        kql::group_of_names(names(group, show.names).iter().map(String::as_str))
    } else {
        kql::group_from_tables(site, id, show.days, show.names)
    };
    let alias = kql::group_alias(site, id);
    let name = shown(&group.name);
    let search = |alias: &str, display_name: String, query: String| Search {
        id: format!("cmsync-{}", alias.to_ascii_lowercase()),
        category: CATEGORY.to_owned(),
        display_name,
        query,
        function_alias: alias.to_owned(),
        tags: vec![tag("Group", "Computer"), tag(OWNER_TAG, site)],
    };
    let mut searches = vec![search(&alias, format!("{name} ({site} {id})"), query)];
    if show.is_alone {
        let text = kql::group_of_group(&alias);
        searches.push(search(&format!("CMG_{id}"), format!("{name} ({id})"), text));
    }
    searches
}

/// The names of a static group, each once, in order: an unchanged group keeps its text.
fn names(group: &Group, wanted: Names) -> std::collections::BTreeSet<String> {
    let fqdns = group.computers.iter().filter(|_| wanted != Names::Netbios);
    let netbios = group.netbios_names.iter().filter(|_| wanted != Names::Fqdn);
    fqdns.chain(netbios).filter(|name| !name.is_empty()).cloned().collect()
}

/// The function with the former table's columns.
#[must_use]
pub fn all_groups(show: Show) -> Search {
    Search {
        id: format!("cmsync-{}", ALL.to_ascii_lowercase()),
        category: CATEGORY.to_owned(),
        display_name: "Configuration Manager computer groups".to_owned(),
        query: kql::all_groups(show.days, show.names),
        function_alias: ALL.to_owned(),
        tags: vec![tag(OWNER_TAG, SHARED)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHOW: Show = Show { names: Names::Both, days: 7, is_alone: true };

    fn group(name: &str, computers: Vec<String>) -> Group {
        Group {
            connection: "c".into(),
            site_code: "CAS".into(),
            collection_id: "PS100014".into(),
            name: name.to_owned(),
            folder: "/".into(),
            members: 1,
            is_static: true,
            netbios_names: computers.clone(),
            computers,
            seq: 1,
        }
    }

    proptest! {
        #[test]
        fn no_name_gets_out_of_its_literal(names in proptest::collection::vec("\\PC{0,20}|[\\\\'\"\\n\\r\\u{202e}a]{0,8}", 0..5)) {
            let text = kql::group_of_names(names.iter().map(String::as_str));
            // What is left without escaped characters has quotes in pairs around each literal.
            let mut outside = String::new();
            let (mut is_inside, mut chars) = (false, text.chars());
            while let Some(c) = chars.next() {
                match c {
                    '\\' if is_inside => drop(chars.next()),
                    '\'' => is_inside = !is_inside,
                    c if !is_inside => outside.push(c),
                    c => prop_assert!(!c.is_control()),
                }
            }
            prop_assert!(!is_inside);
            let commas = ",".repeat(names.len().saturating_sub(1));
            prop_assert_eq!(outside, format!("datatable(Computer:string)[{commas}] | distinct Computer"));
        }
    }

    #[test]
    fn a_display_name_cannot_turn_a_line_around() {
        let name = "A\u{202e}B\nC\u{2066}'\"\\";
        let made = searches(&group(name, vec![]), SHOW);
        assert_eq!(made[0].display_name, "AB C'\"\\ (CAS PS100014)");
        assert_eq!(made[1].query, "CMG_CAS_PS100014 | distinct Computer");
        let long = searches(&group(&"x".repeat(400), vec![]), Show { is_alone: false, ..SHOW });
        assert!(long[0].display_name.chars().count() < 330 && long.len() == 1);
    }

    #[test]
    fn codes_that_are_no_identifiers_make_no_alias() {
        let odd = Group { collection_id: "PS1'0014".into(), ..group("a", vec![]) };
        assert_eq!(searches(&odd, SHOW), []);
    }

    #[test]
    fn a_static_group_holds_the_names_that_were_asked_for() {
        let group = Group {
            computers: vec!["b.contoso.com".into(), "A".into()],
            netbios_names: vec!["B".into(), "A".into()],
            ..group("a", vec![])
        };
        let text = |names| searches(&group, Show { names, ..SHOW })[0].query.clone();
        assert!(text(Names::Both).contains("['A','B','b.contoso.com']"));
        assert!(text(Names::Fqdn).contains("['A','b.contoso.com']"));
        assert!(text(Names::Netbios).contains("['A','B']"));
    }
}
