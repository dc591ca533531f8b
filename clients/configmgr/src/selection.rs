//! Which collections a connection keeps.

use crate::Collection;
use globset::{GlobBuilder, GlobMatcher};

/// Whether a text is a collection's id: eight capital letters and digits.
#[must_use]
pub fn is_collection_id(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// One entry of a connection's `collections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// A collection's id.
    Id(String),
    /// A pattern of names, with `*` and `?`, whatever the case.
    Name(String),
    /// A folder with those below it.
    Folder(String),
}

/// A connection's list.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    selectors: Vec<(Selector, Option<GlobMatcher>)>,
}

/// A pattern in which `*` and `?` alone mean more than themselves: names hold brackets and braces.
fn plain(pattern: &str) -> String {
    let letter = |c: char| match c {
        '[' | ']' | '{' | '}' => format!("[{c}]"),
        other => other.to_string(),
    };
    pattern.chars().map(letter).collect()
}

impl PartialEq for Selection {
    fn eq(&self, other: &Self) -> bool {
        self.selectors().eq(other.selectors())
    }
}

impl Selection {
    /// A selection of these; the error names the entry that cannot be used.
    ///
    /// # Errors
    /// The number of the entry and what is wrong with it.
    pub fn new(selectors: Vec<Selector>) -> Result<Self, (usize, String)> {
        let mut compiled = Vec::with_capacity(selectors.len());
        for (index, selector) in selectors.into_iter().enumerate() {
            let matcher = match &selector {
                Selector::Id(id) if is_collection_id(id) => None,
                Selector::Id(id) => {
                    return Err((
                        index,
                        format!(
                            "`{id}` is no collection id (eight capital letters and digits); write a name as {{ name = \"{id}\" }}"
                        ),
                    ));
                }
                Selector::Folder(folder) if folder.starts_with('/') => None,
                Selector::Folder(folder) => {
                    return Err((index, format!("folder `{folder}` must begin with `/`")));
                }
                Selector::Name(pattern) => {
                    let glob = GlobBuilder::new(&plain(pattern))
                        .case_insensitive(true)
                        .literal_separator(false)
                        .backslash_escape(false)
                        .build();
                    Some(
                        glob.map_err(|e| (index, format!("pattern `{pattern}`: {e}")))?
                            .compile_matcher(),
                    )
                }
            };
            compiled.push((selector, matcher));
        }
        Ok(Self { selectors: compiled })
    }

    /// The entries.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.selectors.iter().map(|(selector, _)| selector)
    }

    /// Whether a collection is kept.
    #[must_use]
    pub fn has(&self, collection: &Collection) -> bool {
        self.keeps(&collection.id, &collection.name, &collection.folder)
    }

    /// Whether a collection with this id and name in this folder is kept.
    #[must_use]
    pub fn keeps(&self, id: &str, name: &str, folder: &str) -> bool {
        self.selectors.iter().any(|selector| fits(selector, (id, name, folder)))
    }

    /// Patterns and folders that fit none of `collections`.
    #[must_use]
    pub fn unmatched<'a>(&'a self, collections: &[Collection]) -> Vec<&'a str> {
        let fits_one = |selector: &(Selector, Option<GlobMatcher>)| {
            collections.iter().any(|c| fits(selector, (&c.id, &c.name, &c.folder)))
        };
        let unmatched = self.selectors.iter().filter(|selector| !fits_one(selector));
        unmatched
            .filter_map(|(selector, _)| match selector {
                Selector::Id(_) => None,
                Selector::Name(text) | Selector::Folder(text) => Some(text.as_str()),
            })
            .collect()
    }

    /// Ids that are named and not among `collections`.
    #[must_use]
    pub fn missing<'a>(&'a self, collections: &[Collection]) -> Vec<&'a str> {
        let is_missing = |id: &&str| !collections.iter().any(|c| c.id == **id);
        let ids = self.selectors().filter_map(|s| match s {
            Selector::Id(id) => Some(id.as_str()),
            Selector::Name(_) | Selector::Folder(_) => None,
        });
        ids.filter(is_missing).collect()
    }
}

/// Whether a collection with this id and name in this folder is what an entry means.
fn fits(
    (selector, matcher): &(Selector, Option<GlobMatcher>),
    (id, name, folder): (&str, &str, &str),
) -> bool {
    match (selector, matcher) {
        (Selector::Id(wanted), _) => wanted == id,
        (Selector::Folder(wanted), _) => {
            let rest = folder.strip_prefix(wanted.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (Selector::Name(_), Some(matcher)) => matcher.is_match(name),
        (Selector::Name(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(id: &str, name: &str, folder: &str) -> Collection {
        Collection {
            id: id.into(),
            name: name.into(),
            folder: folder.into(),
            member_count: 0,
            token: String::new(),
        }
    }

    #[test]
    fn collections_are_chosen_by_id_name_and_folder() {
        let has = |selector, c: &Collection| Selection::new(vec![selector]).unwrap().has(c);
        let c = collection("PS100014", "Servers - Web/1", "/Servers/Web");
        assert!(has(Selector::Id("PS100014".into()), &c));
        assert!(has(Selector::Name("servers - *".into()), &c));
        assert!(!has(Selector::Name("web*".into()), &c));
        assert!(has(Selector::Folder("/Servers".into()), &c));
        assert!(has(Selector::Folder("/Servers/Web/".into()), &c));
        assert!(!has(Selector::Folder("/Serv".into()), &c));
        assert!(has(Selector::Folder("/".into()), &c));
    }

    #[test]
    fn only_stars_and_question_marks_mean_more_than_themselves() {
        let has = |pattern: &str, name: &str| {
            let selection = Selection::new(vec![Selector::Name(pattern.into())]).unwrap();
            selection.has(&collection("PS100014", name, "/"))
        };
        for name in ["[PROD] Servers", "a[", "{x,y}", r"back\slash", "[!a]]"] {
            assert!(has(name, name), "{name}");
        }
        assert!(!has("[PROD] Servers", "P Servers"));
        assert!(has("[prod] *?", "[PROD] Servers 1"));
    }

    #[test]
    fn an_entry_that_cannot_be_used_is_named() {
        for bad in [Selector::Id("All Servers".into()), Selector::Folder("Servers".into())] {
            let refused = Selection::new(vec![Selector::Id("SMS00001".into()), bad.clone()])
                .map(drop)
                .unwrap_err();
            assert_eq!(refused.0, 1, "{bad:?}");
        }
    }
}
