//! Files for those who talk to the lab.

use std::io;
use std::path::{Path, PathBuf};

use crate::arm::WORKSPACE;
use crate::options::{Options, Source};
use crate::server::{ADMINISTRATOR, Lab};

impl Lab {
    /// Writes an `az` into a directory, which gives the administrator's tokens as the Azure CLI does
    /// after a login; the directory goes in front of `PATH`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write_az(&self, directory: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(directory)?;
        let cases: Vec<String> = self
            .audiences()
            .into_iter()
            .map(|audience| {
                let token = self.issue_token(&audience, ADMINISTRATOR);
                format!("*\"--resource {audience}\"*) echo '{{\"accessToken\": \"{token}\", \"expires_on\": 4102444800}}' ;;")
            })
            .collect();
        let text = format!(
            "#!/bin/sh\ncase \"$*\" in\n{}\n*) echo \"ERROR: AADSTS500011: The resource principal was not found\" >&2; exit 1 ;;\nesac\n",
            cases.join("\n")
        );
        let path = directory.join("az");
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
    }

    /// Writes the authority, the secrets and a configuration for one connection into `directory`;
    /// gives the configuration's path. `extra` is appended.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write_config(
        &self,
        directory: &Path,
        collections: &str,
        extra: &str,
    ) -> io::Result<PathBuf> {
        let endpoint = self.ingestion();
        let rules: Vec<String> = self
            .options
            .rules
            .iter()
            .map(|id| format!("{{ endpoint = \"{endpoint}\", id = \"{id}\" }}"))
            .collect();
        let known = format!(
            "resource_id = \"{WORKSPACE}\"\nworkspace_id = \"lab-workspace\"\nrules = [{}]\n",
            rules.join(", ")
        );
        let connection = self.connection(directory, collections)?;
        let text = format!("{}{connection}{known}\n{extra}\n", queue(directory));
        write(directory, "cmsync.toml", &text)
    }

    /// The same for set-up: a configuration without a connection, and a file of answers. Gives both
    /// paths. `extra` is appended to the configuration, `setup` to the answers.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write_answers(
        &self,
        directory: &Path,
        (collections, setup): (&str, &str),
        extra: &str,
    ) -> io::Result<(PathBuf, PathBuf)> {
        let connection = self.connection(directory, collections)?;
        let answers = write(directory, "answers.toml", &format!("{connection}\n{setup}\n"))?;
        let text = format!("{}{extra}\n", queue(directory));
        Ok((write(directory, "cmsync.toml", &text)?, answers))
    }

    /// The connection `lab` as far as a person knows it, with its files.
    fn connection(&self, directory: &Path, collections: &str) -> io::Result<String> {
        std::fs::create_dir_all(directory)?;
        let ca = write(directory, "lab-ca.pem", &self.ca_pem)?;
        let site = self.site(directory)?;
        let secret = write(directory, "client-secret", &self.options.client_secret)?;
        let (url, ca) = (self.url(), ca.display());
        let Options { tenant, client_id, audience, shape, .. } = &self.options;
        let azure = match shape.name() {
            None => format!(
                "endpoints = {{ authority = \"{url}\", ingestion_audience = \"{audience}\", query = \"{url}\", resource_manager = \"{url}\", graph = \"{url}\" }}"
            ),
            Some(cloud) => format!("cloud = \"{cloud}\"\nproxy = \"{}\"", self.proxy()),
        };
        Ok(format!(
            r#"[connections.lab]
description = "The lab"
collections = {collections}

[connections.lab.site]
{site}ca_file = "{ca}"

[connections.lab.workspace]
{azure}
ca_file = "{ca}"
tenant_id = "{tenant}"
client_id = "{client_id}"
client_secret_file = "{secret}"
"#,
            secret = secret.display(),
        ))
    }

    /// What a site's table says where its database is read.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn sql_site(&self, directory: &Path) -> io::Result<String> {
        let Options { source, sql_user, sql_password, .. } = &self.options;
        let tracks = *source == Source::Tracked;
        let password = write(directory, "sql-password", sql_password)?;
        Ok(format!(
            "sql = {{ server = \"localhost\", port = {}, database = \"{}\", user = \"{sql_user}\", password_file = \"{}\", change_tracking = {tracks} }}\n",
            self.sql_address.port(),
            self.database(),
            password.display()
        ))
    }

    /// What a site's table says of where it is read.
    fn site(&self, directory: &Path) -> io::Result<String> {
        match self.options.source {
            Source::Sql | Source::Tracked => return self.sql_site(directory),
            Source::AdminService => {}
        }
        let token = write(directory, "site-token", &self.options.site_token)?;
        let (url, token) = (self.url(), token.display());
        Ok(format!(
            "admin_service = [\"{url}/AdminService_TokenAuth\"]\n\
             authentication = {{ bearer_token_file = \"{token}\" }}\n\
             account = \"CONTOSO\\\\svc-cmsync\"\n"
        ))
    }
}

fn queue(directory: &Path) -> String {
    format!("[queue]\nembedded = {{ directory = \"{}\" }}\n\n", directory.join("queue").display())
}

fn write(directory: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, text).map(|()| path)
}
