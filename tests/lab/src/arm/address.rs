//! What a path of Resource Manager means.

/// A resource or a list, as a path names it. All in small letters but `name` and `id`: resource ids
/// are compared without case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    /// The whole path as it was written, without a slash at its end.
    pub(crate) id: &'a str,
    /// For example `microsoft.operationalinsights/workspaces/tables`, `resourcegroups`.
    pub(crate) kind: String,
    /// What it lies in, in small letters.
    pub(crate) parent: String,
    /// Its name; `None` for a list.
    pub(crate) name: Option<&'a str>,
}

impl<'a> Address<'a> {
    /// Reads a path below `/subscriptions`.
    pub(crate) fn parse(path: &'a str) -> Self {
        let id = path.trim_end_matches('/');
        let parts: Vec<&str> = id.trim_start_matches('/').split('/').collect();
        let provider = parts.iter().rposition(|p| p.eq_ignore_ascii_case("providers"));
        // The namespace counts as the first part of the kind.
        let (head, namespace, tail) = match provider {
            Some(at) if at + 1 < parts.len() => {
                (&parts[..at], Some(parts[at + 1]), &parts[at + 2..])
            }
            _ => (&[][..], None, &parts[..]),
        };
        let is_list = !tail.len().is_multiple_of(2);
        let mut kind: Vec<&str> = namespace.into_iter().collect();
        if namespace.is_some() {
            kind.extend(tail.iter().step_by(2));
        } else {
            kind.extend(tail.len().checked_sub(if is_list { 1 } else { 2 }).map(|at| tail[at]));
        }
        let ends = if is_list { 1 } else { 2 };
        let above = if namespace.is_some() && tail.len() <= ends {
            head
        } else {
            &parts[..parts.len().saturating_sub(ends)]
        };
        let name = if is_list { None } else { parts.last().copied() };
        let parent = above.iter().fold(String::new(), |path, part| path + "/" + part);
        Self { id, kind: kind.join("/").to_lowercase(), parent: parent.to_lowercase(), name }
    }

    /// The key of the resource.
    pub(crate) fn key(&self) -> String {
        self.id.to_lowercase()
    }

    /// The subscription, in small letters.
    pub(crate) fn subscription(&self) -> String {
        self.key().split('/').nth(2).unwrap_or_default().to_owned()
    }

    /// The resource group's key, where the path has one.
    pub(crate) fn group(&self) -> Option<String> {
        let key = self.key();
        let parts: Vec<&str> = key.split('/').collect();
        (parts.get(3) == Some(&"resourcegroups") && parts.len() > 4)
            .then(|| parts.get(..5).unwrap_or_default().join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_resource_or_a_list_of_a_kind_within_something() {
        let group = "/subscriptions/s/resourceGroups/G";
        let workspace = format!("{group}/providers/Microsoft.OperationalInsights/workspaces/W");
        let extension = format!("{workspace}/providers/Microsoft.Authorization/roleAssignments");
        let low = |text: &str| text.to_lowercase();
        for (path, kind, parent, name) in [
            ("/subscriptions", "subscriptions", String::new(), None),
            ("/subscriptions/s", "subscriptions", String::new(), Some("s")),
            ("/subscriptions/s/locations", "locations", "/subscriptions/s".into(), None),
            ("/subscriptions/s/resourcegroups", "resourcegroups", "/subscriptions/s".into(), None),
            (group, "resourcegroups", "/subscriptions/s".into(), Some("G")),
            (
                "/subscriptions/s/providers/Microsoft.OperationalInsights/workspaces",
                "microsoft.operationalinsights/workspaces",
                "/subscriptions/s".into(),
                None,
            ),
            (&workspace, "microsoft.operationalinsights/workspaces", low(group), Some("W")),
            (
                &format!("{workspace}/tables/T_CL"),
                "microsoft.operationalinsights/workspaces/tables",
                low(&workspace),
                Some("T_CL"),
            ),
            (&extension, "microsoft.authorization/roleassignments", low(&workspace), None),
            (
                &format!("{extension}/1"),
                "microsoft.authorization/roleassignments",
                low(&workspace),
                Some("1"),
            ),
        ] {
            let found = Address::parse(path);
            assert_eq!((&*found.kind, &found.parent, found.name), (kind, &parent, name), "{path}");
        }
        assert_eq!(Address::parse(&workspace).group(), Some(low(group)));
    }
}
