//! A Kerberos realm: MIT's servers, in a folder of their own, without root.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::free_port;
use crate::running::Running;

/// Its name.
pub(crate) const REALM: &str = "TEST.LOCAL";

/// A realm that runs.
pub struct Realm {
    directory: tempfile::TempDir,
    _server: Running,
}

/// A command that finds the realm whose files are in `directory`.
fn command(directory: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("KRB5_CONFIG", directory.join("krb5.conf"))
        .env("KRB5_KDC_PROFILE", directory.join("kdc.conf"));
    command
}

fn run(command: &mut Command) -> io::Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.output().map_err(|e| {
        io::Error::other(format!("{program}: {e}: `make test` installs what is missing"))
    })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

fn write_files(directory: &Path, port: u16) -> io::Result<()> {
    let at = directory.display();
    let client = format!(
        "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n clockskew = 1\n\
         [realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n"
    );
    let server = format!(
        "[logging]\n kdc = FILE:{at}/kdc.log\n\
         [kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n\
         [realms]\n {REALM} = {{\n  database_name = {at}/principal\n  key_stash_file = {at}/stash\n  acl_file = {at}/acl\n }}\n"
    );
    std::fs::write(directory.join("krb5.conf"), client)?;
    std::fs::write(directory.join("kdc.conf"), server)
}

impl Realm {
    /// Starts a realm and waits until it answers.
    ///
    /// # Errors
    /// When MIT's servers are missing or do not start.
    pub fn start() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cmsync-realm").tempdir()?;
        let (at, port) = (directory.path(), free_port()?);
        write_files(at, port)?;
        run(command(at, "kdb5_util").args(["create", "-s", "-r", REALM, "-P", "x"]))?;
        let mut server = command(at, "krb5kdc");
        let server = Running::start(server.args(["-n", "-r", REALM]), &at.join("krb5kdc"))?;
        server.until_up(port)?;
        Ok(Self { directory, _server: server })
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command that finds the realm.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        command(self.directory.path(), program)
    }

    /// Runs a command that finds the realm to its end.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> io::Result<()> {
        run(self.command(program).args(arguments))
    }

    /// Runs a line of `kadmin`.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn administer(&self, line: &str) -> io::Result<()> {
        self.run("kadmin.local", &["-r", REALM, "-q", line])
    }

    /// Adds a principal; its keytab, in the realm's folder.
    ///
    /// # Errors
    /// When the realm's tools fail.
    pub fn add(&self, principal: &str, keytab: &str) -> io::Result<PathBuf> {
        let keytab = self.path(keytab);
        self.administer(&format!("addprinc -randkey {principal}"))?;
        self.administer(&format!("ktadd -norandkey -k {} {principal}", keytab.display()))?;
        Ok(keytab)
    }
}
