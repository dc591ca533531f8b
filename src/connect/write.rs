//! Writes a connection into the configuration file, keeping everything else in it: comments, order,
//! and keys that say the same.

use std::path::Path;

use anyhow::Context as _;
use toml_edit::{DocumentMut, Item, Table, Value};

/// Changes a file: `change` gets the document, and the file is replaced as a whole, so that a reader
/// sees the old one or the new one.
pub(crate) fn change(
    path: &Path,
    change: impl FnOnce(&mut DocumentMut) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("failed to read `{shown}`")),
    };
    let mut document: DocumentMut =
        text.parse().with_context(|| format!("`{shown}` cannot be changed"))?;
    change(&mut document)?;
    let new = document.to_string();
    if new == text {
        return Ok(());
    }
    let aside = path.with_extension("toml.new");
    std::fs::write(&aside, new)
        .with_context(|| format!("failed to write `{}`", aside.display()))?;
    if let Ok(metadata) = std::fs::metadata(path) {
        drop(std::fs::set_permissions(&aside, metadata.permissions()));
    }
    std::fs::rename(&aside, path).with_context(|| format!("failed to write `{shown}`"))
}

/// The table of a connection, made where it is missing.
pub(crate) fn connection<'a>(
    document: &'a mut DocumentMut,
    name: &str,
) -> anyhow::Result<&'a mut Table> {
    let connections = document.entry("connections").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let connections = connections.as_table_mut().context("`connections` is not a table")?;
    let own = connections.entry(name).or_insert_with(|| Item::Table(Table::new()));
    own.as_table_mut().with_context(|| format!("`connections.{name}` is not a table"))
}

/// Makes `table` say what `wanted` says; what is not mentioned stays.
pub(crate) fn merge(table: &mut Table, wanted: &toml::Table) -> anyhow::Result<()> {
    let text = toml::to_string(wanted).context("failed to write the connection")?;
    let document: DocumentMut = text.parse().context("failed to write the connection")?;
    lay(table, document.as_table());
    Ok(())
}

fn lay(table: &mut Table, wanted: &Table) {
    for (key, item) in wanted {
        // Lists of tables are written as values: one line each.
        let inline = matches!(item, Item::ArrayOfTables(_)).then(|| item.clone().into_value());
        let inline = inline.and_then(Result::ok).map(Item::Value);
        let item = inline.as_ref().unwrap_or(item);
        match (table.get_mut(key), item) {
            (Some(Item::Table(below)), Item::Table(above)) => lay(below, above),
            (Some(Item::Value(below)), Item::Value(above)) => {
                if !is_same(below, above) {
                    let decor = below.decor().clone();
                    *below = above.clone();
                    *below.decor_mut() = decor;
                }
            }
            (Some(Item::Value(Value::InlineTable(below))), Item::Table(above)) => {
                let mut inner = below.clone().into_table();
                lay(&mut inner, above);
                if inner.to_string() != below.clone().into_table().to_string() {
                    *below = inner.into_inline_table();
                }
            }
            (_, item) => drop(table.insert(key, item.clone())),
        }
    }
}

/// Whether two values say the same, however they are written.
fn is_same(one: &Value, other: &Value) -> bool {
    let plain = |value: &Value| {
        let text = format!("v = {}", value.to_string().trim());
        text.parse::<toml::Table>().ok()
    };
    plain(one).is_some() && plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, wanted: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cmsync.toml");
        std::fs::write(&path, text).unwrap();
        let wanted: toml::Table = wanted.parse().unwrap();
        change(&path, |document| merge(connection(document, "c")?, &wanted)).unwrap();
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn comments_order_and_what_is_not_mentioned_stay() {
        let text = "# mine\n[http]\nlisten = \"\" # none\n\n[connections.c]\n# why\ndescription = \"old\" # so\n\
                    collections = [ \"PS100001\" ]\n[connections.c.site]\nread_timeout = \"2m\"\n";
        let new =
            changed(text, "description = 'new'\ncollections = ['PS100001']\n[site]\naccount = 'a'");
        assert_eq!(
            new,
            "# mine\n[http]\nlisten = \"\" # none\n\n[connections.c]\n# why\ndescription = \"new\" # so\n\
             collections = [ \"PS100001\" ]\n[connections.c.site]\nread_timeout = \"2m\"\naccount = \"a\"\n"
        );
        assert_eq!(changed(&new, "description = 'new'"), new);
    }

    #[test]
    fn a_list_of_tables_stays_a_value_and_the_same_list_is_not_written_anew() {
        let wanted = "[workspace]\nrules = [{ endpoint = 'https://a', id = 'dcr-1' }]";
        let new = changed("", wanted);
        assert!(new.contains("rules = [{ endpoint = \"https://a\", id = \"dcr-1\" }]"), "{new}");
        assert_eq!(changed(&new, wanted), new);
    }

    #[test]
    fn a_connection_is_added_to_a_file_that_has_none() {
        let new = changed("[http]\nlisten = \"\"\n", "description = 'd'\n[site]\naccount = 'a'");
        let file: toml::Table = new.parse().unwrap();
        assert_eq!(file["connections"]["c"]["site"]["account"].as_str(), Some("a"), "{new}");
        assert!(new.starts_with("[http]\nlisten = \"\"\n"), "{new}");
    }
}
