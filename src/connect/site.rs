//! The page of the site: which one it is, and what it has.

use anyhow::bail;
use cmsync_configmgr::{Collection, ConnectionPoint, Hierarchy, TICKETS, Tickets};

use super::answers::Answers;
use super::ask::{Choice, Prompt};
use super::{Page, identity};
use crate::config::{self, raw};
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
        ask(page, answers).await?;
        match look(page, answers).await {
            Ok(found) => return Ok(found),
            Err(error) => page.again(error)?,
        }
        let site = &mut answers.connection.site;
        (site.admin_service, site.authentication) = (Vec::new(), None);
    }
}

async fn ask(page: &Page<'_>, answers: &mut Answers) -> anyhow::Result<()> {
    let site = &mut answers.connection.site;
    match site.source() {
        // Of the file alone.
        raw::Source::Sql(_) => return Ok(()),
        raw::Source::AdminService => {}
    }
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
        let authentication = authentication(page)?;
        let is_entra = authentication.entra.is_some();
        site.authentication = Some(authentication);
        if is_entra {
            // Its tokens are those of the identity in Azure, which is asked for before its page.
            identity::ask(page, answers).await?;
        }
        account(page, &mut answers.connection.site)?;
    }
    Ok(())
}

fn account(page: &Page<'_>, site: &mut raw::Site) -> anyhow::Result<()> {
    if page.ask.is_terminal() && site.account.is_none() {
        let prompt = Prompt {
            text: "Logon name of the account",
            key: "site.account",
            help: "DOMAIN\\name, to notice when its rights change; may be empty",
        };
        let account = page.ask.text(&prompt, "", |_| Ok(()))?;
        site.account = Some(account).filter(|name| !name.is_empty());
    }
    Ok(())
}

/// With Kerberos, a token of one's own, or Entra's.
fn authentication(page: &Page<'_>) -> anyhow::Result<raw::Authentication> {
    let prompt = Prompt {
        text: "How is the site signed in to?",
        key: "site.authentication",
        help: "{ kerberos = { principal, keytab } } or { bearer_token_file }",
    };
    let mut answer = raw::Authentication::default();
    let ways = ways();
    let way = match page.ask.is_terminal() {
        true => {
            let choices: Vec<_> = ways.iter().map(|(_, text)| Choice::plain(*text)).collect();
            page.ask.choose(&prompt, &choices)?
        }
        false => 0,
    };
    match ways.get(way).map(|(way, _)| way) {
        Some(Way::Keytab) => answer.kerberos = Some(kerberos(page, true)?),
        Some(Way::TicketCache) => answer.kerberos = Some(kerberos(page, false)?),
        Some(Way::ThisAccount) => answer.integrated = true,
        Some(Way::Entra) => {
            let prompt = Prompt {
                text: "Application ID URI of the site's server",
                key: "site.authentication",
                help: "api://…, as the server application of the cloud management gateway is called",
            };
            let audience = page.ask.text(&prompt, "", super::not_empty)?;
            answer.entra = Some(raw::Entra { audience });
        }
        _ => {
            let prompt = Prompt {
                text: "File with a bearer token for the site",
                key: "site.authentication",
                help: "{ bearer_token_file = \"…\" }, { kerberos = { principal = \"…\", keytab = \"…\" } } or \
                       { entra = { audience = \"api://…\" } }",
            };
            answer.bearer_token_file = Some(page.ask.text(&prompt, "", super::file)?.into());
        }
    }
    Ok(answer)
}

enum Way {
    Bearer,
    Keytab,
    TicketCache,
    ThisAccount,
    Entra,
}

/// The ways that this build has.
fn ways() -> Vec<(Way, &'static str)> {
    let kerberos = match TICKETS {
        Tickets::OfPrincipals => vec![
            (Way::Keytab, "Kerberos with a keytab"),
            (Way::TicketCache, "Kerberos with a ticket cache (kinit)"),
        ],
        Tickets::OfThisAccount => {
            vec![(Way::ThisAccount, "the account that runs cmsync (Kerberos)")]
        }
        Tickets::Nobodys => Vec::new(),
    };
    let bearer = (Way::Bearer, "a bearer token in a file");
    let entra = (Way::Entra, "tokens of the identity in Azure (Entra)");
    [bearer].into_iter().chain(kerberos).chain([entra]).collect()
}

fn kerberos(page: &Page<'_>, has_keytab: bool) -> anyhow::Result<raw::Kerberos> {
    let prompt =
        Prompt { text: "Principal", key: "principal", help: "for example svc-cmsync@CONTOSO.COM" };
    let principal = page.ask.text(&prompt, "", super::not_empty)?;
    let mut answer = raw::Kerberos { principal, keytab: None, ticket_cache: None };
    if has_keytab {
        let prompt =
            Prompt { text: "Keytab", key: "keytab", help: "a file with the principal's key" };
        answer.keytab = Some(page.ask.text(&prompt, "", super::file)?.into());
    } else {
        let prompt = Prompt {
            text: "Ticket cache",
            key: "ticket_cache",
            help: "as klist names it, for example FILE:/run/cmsync/tickets; whoever renews it keeps cmsync going",
        };
        answer.ticket_cache = Some(page.ask.text(&prompt, "", super::not_empty)?);
    }
    Ok(answer)
}

async fn look(page: &Page<'_>, answers: &Answers) -> anyhow::Result<SiteFound> {
    let checked = config::check_site(&answers.name, &answers.connection)?;
    if checked.account().is_some() {
        // Where it starts anew for the keys, it goes on with what was answered.
        super::keep_unless_planned(page, answers)?;
        kerberos::enter_site(&checked)?;
    }
    let site = connections::site(&checked)?;
    let hierarchy = site.hierarchy().await?;
    let code = hierarchy.this_site.clone();
    if let Some(above) = hierarchy.above() {
        bail!(cmsync_configmgr::wrong_tier(&code, above));
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
