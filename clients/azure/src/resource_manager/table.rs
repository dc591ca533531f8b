//! Tables of a workspace.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{LOG_ANALYTICS_CONTRIBUTOR, ResourceManager, WorkspaceId, wish};
use crate::AzureError;

const VERSION: &str = "2022-10-01";

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// `string`, `int`, `long`, `real`, `boolean`, `datetime` or `dynamic`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A table with columns of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name, which ends in `_CL`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// `Analytics`, `Basic` or `Auxiliary`.
    pub plan: String,
    /// `Succeeded`, or what it is in the middle of: `Updating`, `InProgress`, `Deleting`.
    pub state: String,
}

#[derive(Deserialize)]
struct Resource {
    properties: Properties,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    schema: Schema,
    plan: Option<String>,
    provisioning_state: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Schema {
    name: String,
    description: Option<String>,
    columns: Option<Vec<Column>>,
}

impl From<Resource> for Table {
    fn from(Resource { properties: p }: Resource) -> Self {
        Self {
            name: p.schema.name,
            description: p.schema.description.unwrap_or_default(),
            columns: p.schema.columns.unwrap_or_default(),
            plan: p.plan.unwrap_or_default(),
            state: p.provisioning_state.unwrap_or_default(),
        }
    }
}

impl ResourceManager {
    /// A table; `None` when it is not there.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn table(&self, at: &WorkspaceId, name: &str) -> Result<Option<Table>, AzureError> {
        let scope = at.to_string();
        let what = format!("read the table `{name}`");
        let wish = wish(&what, "Log Analytics Reader", &scope);
        let found = self.get::<Resource>(&format!("{scope}/tables/{name}"), VERSION, wish).await?;
        Ok(found.map(Into::into))
    }

    /// Makes a table, or adds the columns that it lacks.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn put_table(&self, at: &WorkspaceId, table: &Table) -> Result<Table, AzureError> {
        let scope = at.to_string();
        let what = format!("make the table `{}`", table.name);
        let wish = wish(&what, LOG_ANALYTICS_CONTRIBUTOR, &scope);
        let Table { name, description, columns, plan, .. } = table;
        let body = json!({ "properties": {
            "plan": plan,
            "schema": { "name": name, "description": description, "columns": columns },
        }});
        let path = format!("{scope}/tables/{}", table.name);
        self.put::<Resource>(&path, VERSION, &body, wish).await.map(Into::into)
    }

    /// Deletes a table with its rows.
    ///
    /// # Errors
    /// See [`AzureError`].
    pub async fn delete_table(&self, at: &WorkspaceId, name: &str) -> Result<(), AzureError> {
        let scope = at.to_string();
        let what = format!("delete the table `{name}`");
        let wish = wish(&what, LOG_ANALYTICS_CONTRIBUTOR, &scope);
        self.delete(&format!("{scope}/tables/{name}"), VERSION, wish).await
    }
}
