//! Whatever a site answers, it is read right or refused with the place named.

use std::sync::Arc;

use cmsync_configmgr::{
    AdminService, Bearer, Error, Limits, MemberRow, MemberSink, Settings, Site,
};
use cmsync_http::{Client, Secret};
use cmsync_lab::Lab;
use secrecy::SecretString;
use url::Url;

use crate::rig::{Rig, options, small};

async fn lab() -> (Arc<Lab>, tempfile::TempDir) {
    let lab = Lab::start(options(small())).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), &lab.ca_pem).unwrap();
    (lab, directory)
}

fn reader(lab: &Lab, directory: &tempfile::TempDir, providers: &[String]) -> AdminService {
    let settings = cmsync_http::Settings {
        ca_file: Some(directory.path().join("ca.pem")),
        ..Default::default()
    };
    let token = Secret::Given(SecretString::from(lab.options.site_token.clone()));
    AdminService::new(
        Client::new("site", &settings).unwrap(),
        Box::new(Bearer::new(token)),
        Settings {
            providers: providers.iter().map(|p| Url::parse(p).unwrap()).collect(),
            page_size: 1_000,
            account: Some("contoso\\SVC-cmsync".into()),
            limits: Limits::default(),
        },
    )
}

fn own_provider(lab: &Lab) -> Vec<String> {
    vec![format!("{}/AdminService_TokenAuth", lab.url())]
}

#[derive(Default)]
struct Rows(Vec<(i64, i64, String)>);

impl MemberSink for Rows {
    fn row(&mut self, row: &MemberRow<'_>) {
        self.0.push((row.resource_id, row.resource_type, row.name.clone().into_owned()));
    }
    fn restart(&mut self) {
        self.0.clear();
    }
}

/// Members of a collection when the class answers this, word for word.
async fn members(answer: &str) -> Result<Vec<(i64, i64, String)>, Error> {
    let (lab, directory) = lab().await;
    lab.faults().raw_answers.insert("SMS_FullCollectionMembership".into(), answer.into());
    let mut rows = Rows::default();
    let reader = reader(&lab, &directory, &own_provider(&lab));
    reader.members("PS100001", &mut rows).await.map(|()| rows.0)
}

#[tokio::test]
async fn odd_rows_are_read_as_what_they_mean() {
    let answer = r##"{"@odata.context":"https://x/wmi/$metadata#SMS_FullCollectionMembership","value":[
        {"CollectionID":"PS100001","ResourceID":"16777220","ResourceType":"5","Name":"A","New":{"deep":[1,{"value":[]}]}},
        {"CollectionID":"PS100001","ResourceID":16777221,"ResourceType":null,"Name":null,"Domain":null,"SiteCode":null},
        {"CollectionID":null,"ResourceID":16777222.0,"ResourceType":2,"Name":"\u00dcber \"x\""}]}"##;
    let found = members(answer).await.unwrap();
    let expected = [(16_777_220, 5, "A"), (16_777_221, -1, ""), (16_777_222, 2, "Über \"x\"")];
    assert_eq!(found, expected.map(|(id, kind, name)| (id, kind, name.to_owned())));
}

#[tokio::test]
async fn rows_out_of_order_twice_or_of_another_collection_are_read_in_one_piece() {
    let answer = r##"{"@odata.context":"#SMS_FullCollectionMembership","value":[
        {"CollectionID":"PS100001","ResourceID":9},{"CollectionID":"PS100001","ResourceID":9},
        {"CollectionID":"PS100001","ResourceID":4},{"CollectionID":"PS1FFFFF","ResourceID":5}]}"##;
    let found = members(answer).await.unwrap();
    // The sink makes a set of them; a row of another collection never gets there.
    assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), [9, 9, 4]);
}

#[tokio::test]
async fn what_is_no_answer_is_refused_with_its_place() {
    for (answer, expected) in [
        ("", "not a JSON object"),
        ("hello", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{\"value\":[{\"CollectionID\":\"PS100001\"", "cut short"),
        ("{\"value\":5}", "no `value` array"),
        ("{\"@odata.context\":\"#SMS_Site\",\"value\":[]}", "it speaks of `SMS_Site`"),
        ("{\"value\":[{\"ResourceID\":1},{\"ResourceID\":\"x\"}]}", "row 2: `x` is not a number"),
        ("{\"value\":[{\"Name\":\"A\"}]}", "row 1: missing field `ResourceID`"),
        ("{\"value\":[],\"@odata.nextLink\":\"https://elsewhere.example/x\"}", "leads elsewhere"),
    ] {
        let error = members(answer).await.unwrap_err().to_string();
        assert!(
            error.contains(expected)
                && error.contains("localhost")
                && error.contains("SMS_FullCollectionMembership"),
            "{answer}: {error}"
        );
    }
}

#[tokio::test]
async fn another_provider_takes_over_between_reads() {
    let (lab, directory) = lab().await;
    let dead = "https://localhost:9/AdminService_TokenAuth".to_owned();
    let providers = [vec![dead], own_provider(&lab)].concat();
    let reader = reader(&lab, &directory, &providers);
    assert_eq!(reader.hierarchy().await.unwrap().this_site, "CAS");
    let mut rows = Rows::default();
    reader.members("PS100001", &mut rows).await.unwrap();
    assert_eq!(rows.0.len() as u64, lab.world().collections["PS100001"].members.len());
    assert!(reader.account().await.unwrap().is_some_and(|a| a.contains("Read-only Analyst")));
}

#[tokio::test]
async fn the_lab_answers_by_key_as_a_site_does() {
    let (lab, directory) = lab().await;
    let settings = cmsync_http::Settings {
        ca_file: Some(directory.path().join("ca.pem")),
        ..Default::default()
    };
    let client = Client::new("site", &settings).unwrap();
    let get = async |path: &str| {
        let url = Url::parse(&format!("{}/AdminService/wmi/{path}", lab.url())).unwrap();
        let request = client.request(cmsync_http::Method::GET, url);
        let answer = client.send(request.bearer_auth(&lab.options.site_token)).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
    };
    let one = get("SMS_Collection('PS100001')").await;
    assert_eq!(one["value"].as_array().unwrap().len(), 1);
    assert_eq!(one["value"][0]["CollectionID"], "PS100001");
    let device = get("SMS_R_System(16777219)").await;
    assert_eq!(device["value"][0]["ResourceId"], 16_777_219);
    let lazy = get("SMS_Collection?$select=CollectionRules").await;
    assert_eq!(lazy["error"]["code"], "400");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_cannot_be_read_holds_up_no_other() {
    let mut rig = Rig::new(small()).await;
    rig.start();
    rig.until_all_equal().await;
    let others: Vec<String> =
        rig.lab.device_collections().into_iter().filter(|id| id != "PS100000").collect();
    rig.lab.faults().unreadable.insert("PS100000".into());
    for id in ["PS100000", "PS100001", "PS100002"] {
        let gone: Vec<u32> = rig.lab.world().collections[id].members.iter().take(2).collect();
        rig.lab.world().change_members(id, &[cmsync_lab::world::CLIENTS + 398], &gone);
    }
    let lab = Arc::clone(&rig.lab);
    // The group that cannot be read stays as it was: only it may differ.
    rig.until(move || {
        let differences = lab.compare(&lab.device_collections()).differences;
        let view = lab.workspace.view("CAS", 0);
        let world = lab.world();
        let is_true = |id: &String| view.groups[id].keys().eq(world.computers(id).keys());
        (!differences.is_empty() && others.iter().all(is_true)).then_some(())
    })
    .await;
    rig.lab.faults().unreadable.clear();
    rig.until_all_equal().await;
}
