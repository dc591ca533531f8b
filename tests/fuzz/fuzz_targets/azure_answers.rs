//! Answers of Entra, Logs Ingestion, Logs Query, Resource Manager and Graph.

#![no_main]

use std::sync::Arc;

use cmsync_azure::{
    Credential, Graph, Identity, Ingestion, ManagedIdentity, Proof, Query, ResourceManager, Rule,
    WorkspaceId,
};
use cmsync_http::{Client, Secret};
use libfuzzer_sys::fuzz_target;
use url::Url;

fn url(text: &str) -> Url {
    text.parse().expect("a URL")
}

fn credential(client: &Client, identity: Identity) -> Arc<Credential> {
    Arc::new(Credential::new(client.clone(), url("https://login.invalid"), identity))
}

fuzz_target!(|data: &[u8]| {
    let Some((call, data)) = data.split_first() else { return };
    let client = cmsync_fuzz::client(data);
    let given =
        || credential(&client, Identity::FixedToken(Secret::Given("a.eyJvaWQiOiJ4In0.c".into())));
    let endpoint = || url("https://azure.invalid");
    let workspace =
        WorkspaceId { subscription: "s".into(), resource_group: "g".into(), name: "w".into() };
    cmsync_fuzz::run(async {
        match call % 8 {
            0 => {
                let proof = Proof::Secret(Secret::Given("secret".into()));
                let identity =
                    Identity::Application { tenant: "t".into(), client: "c".into(), proof };
                drop(credential(&client, identity).lasting("https://monitor.azure.com").await);
            }
            1 => {
                let identity =
                    ManagedIdentity::from_environment(None, |_| None).expect("the machine's");
                drop(credential(&client, Identity::Managed(identity)).lasting("https://x").await);
            }
            2 => {
                let rule = Rule { endpoint: endpoint(), id: "dcr-1".into() };
                let body = ("Custom-X", bytes::Bytes::from_static(b"x"));
                drop(Ingestion::new(client.clone()).post(&rule, &"t".into(), "id", body).await);
            }
            3 => drop(Query::new(client.clone(), endpoint(), given()).rows("w", "T").await),
            4 => {
                let manager = ResourceManager::new(client.clone(), endpoint(), given());
                drop(manager.saved_searches(&workspace).await);
            }
            5 => drop(Graph::new(client.clone(), endpoint(), given()).application("c").await),
            6 => drop(Graph::new(client.clone(), endpoint(), given()).organization().await),
            _ => drop(
                ResourceManager::new(client.clone(), endpoint(), given()).subscriptions().await,
            ),
        }
    });
});
