//! The page of the site: which one it is, and what it has.

use anyhow::bail;
use cmsync_configmgr::{Collection, ConnectionPoint, Hierarchy, Site as _};

use super::Page;
use super::answers::Answers;
use super::ask::Prompt;
use crate::config::{self, SiteIdentity, raw};
use crate::{connections, kerberos};

/// A site that can be synchronised.
pub(crate) struct SiteFound {
    pub(crate) code: String,
    pub(crate) collections: Vec<Collection>,
}

/// Asks for the site until one answers as it should.
pub(super) async fn page(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<SiteFound> {
    page.title("Site");
    loop {
        ask(page, &mut answers.connection.site)?;
        match look(page, answers).await {
            Ok(found) => return Ok(found),
            Err(error) => page.again(error)?,
        }
        let site = &mut answers.connection.site;
        (site.admin_service, site.authentication) = (Vec::new(), None);
    }
}

fn ask(page: &Page<'_>, site: &mut raw::Site) -> anyhow::Result<()> {
    if site.admin_service.is_empty() {
        let prompt = Prompt {
            text: "Administration service",
            key: "site.admin_service",
            help: "its URL, for example https://cm01.contoso.com/AdminService",
        };
        let is_url = |text: &str| match url::Url::parse(text) {
            Ok(url) if url.scheme() == "https" => Ok(()),
            _ => Err("must be a URL that begins with https://".to_owned()),
        };
        site.admin_service = vec![page.ask.text(&prompt, "", is_url)?];
    }
    if site.ca_file.is_none() && page.ask.is_terminal() {
        let prompt = Prompt {
            text: "Certificate authority of the site",
            key: "site.ca_file",
            help: "a PEM file; leave it empty where this machine trusts it",
        };
        let file = page.ask.text(&prompt, "", super::file_or_empty)?;
        site.ca_file = Some(file).filter(|f| !f.is_empty()).map(Into::into);
    }
    if site.authentication.is_none() {
        site.authentication = Some(authentication(page)?);
        if page.ask.is_terminal() && site.account.is_none() {
            let prompt = Prompt {
                text: "Logon name of the account",
                key: "site.account",
                help: "DOMAIN\\name, to notice when its rights change; may be empty",
            };
            let account = page.ask.text(&prompt, "", |_| Ok(()))?;
            site.account = Some(account).filter(|name| !name.is_empty());
        }
    }
    Ok(())
}

/// With Kerberos or a token.
fn authentication(page: &Page<'_>) -> anyhow::Result<raw::Authentication> {
    let prompt = Prompt {
        text: "How is the site signed in to?",
        key: "site.authentication",
        help: "{ kerberos = { principal, keytab } } or { bearer_token_file }",
    };
    let ways = ["a bearer token in a file", "Kerberos with a keytab"];
    let mut answer = raw::Authentication::default();
    if page.ask.is_terminal() && page.ask.choose(&prompt, &ways.map(ToOwned::to_owned))? == 1 {
        let principal = Prompt {
            text: "Principal",
            key: "principal",
            help: "for example svc-cmsync@CONTOSO.COM",
        };
        let keytab =
            Prompt { text: "Keytab", key: "keytab", help: "a file with the principal's key" };
        answer.kerberos = Some(raw::Kerberos {
            principal: page.ask.text(&principal, "", super::not_empty)?,
            keytab: Some(page.ask.text(&keytab, "", super::file)?.into()),
            ticket_cache: None,
        });
        return Ok(answer);
    }
    let prompt = Prompt {
        text: "File with a bearer token for the site",
        key: "site.authentication",
        help: "{ bearer_token_file = \"…\" }, or { kerberos = { principal = \"…\", keytab = \"…\" } }",
    };
    answer.bearer_token_file = Some(page.ask.text(&prompt, "", super::file)?.into());
    Ok(answer)
}

async fn look(page: &Page<'_>, answers: &Answers) -> anyhow::Result<SiteFound> {
    let checked = config::check_site(&answers.name, &answers.connection)?;
    if let SiteIdentity::Kerberos(_) = checked.authentication {
        // Where it starts anew for the keys, it goes on with what was answered.
        answers.keep(page.config)?;
        kerberos::enter(std::iter::once(&checked.authentication))?;
    }
    let site = connections::site(&checked)?;
    let hierarchy = site.hierarchy().await?;
    let code = hierarchy.this_site.clone();
    if let Some(above) = hierarchy.above() {
        bail!("site {code} reports to {above}: name the administration service of {above}");
    }
    let collections = site.collections().await?;
    page.say(&format!("✓ {}", describe(&hierarchy, collections.len())));
    page.say(&point(site.connection_point().await?.as_ref()));
    match site.account().await? {
        Some(_) => page.say("✓ the account's own administrative user can be seen"),
        None => page.say(
            "! the account's own user cannot be seen (`site.account`): held removals will wait for \
             a person",
        ),
    }
    Ok(SiteFound { code, collections })
}

fn describe(hierarchy: &Hierarchy, collections: usize) -> String {
    let Hierarchy { this_site, sites, .. } = hierarchy;
    let of =
        if sites.len() == 1 { "a single site".into() } else { format!("{} sites", sites.len()) };
    format!("site {this_site}, top tier of {of}, shows {collections} device collections")
}

/// cmsync does not need it: rows go out from here.
fn point(found: Option<&ConnectionPoint>) -> String {
    let Some(ConnectionPoint { server, is_online }) = found else {
        return "- no service connection point can be seen (cmsync needs none)".into();
    };
    let mode = match is_online {
        Some(true) => "online",
        Some(false) => "offline",
        None => "a mode that the site does not tell",
    };
    format!("- service connection point on {server}, in {mode} mode (cmsync needs none)")
}
