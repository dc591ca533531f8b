//! What happens to devices and collections arrives as the right rows.

use cmsync_lab::workspace::Sight;
use cmsync_lab::world::{CLIENTS, DISCOVERED};
use roaring::RoaringBitmap;

use crate::rig::{Rig, options, small};

const SWEEP: &str = "[producer]\ndevice_sweep_interval = \"2s\"\nreread_interval = \"24h\"";

async fn synced() -> Rig {
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, SWEEP).await;
    rig.start();
    rig.until_all_equal().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_device_is_renamed_in_every_collection_that_holds_it() {
    let mut rig = synced().await;
    rig.lab.world().rename_device(CLIENTS + 5, "RENAMED-5");
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_moved_to_another_domain_gets_its_new_fqdn() {
    let mut rig = synced().await;
    rig.lab.world().move_device(CLIENTS + 8, "FABRIKAM", "fabrikam.example");
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_resource_id_moves_in_one_delta() {
    let mut rig = synced().await;
    let (old, new) = (CLIENTS + 11, DISCOVERED + 11);
    let holders: Vec<String> = {
        let mut world = rig.lab.world();
        let holders = world
            .collections
            .iter()
            .filter(|(_, c)| c.kind == 2 && c.members.contains(old))
            .map(|(id, _)| id.clone())
            .collect();
        world.replace_id(old, new);
        holders
    };
    rig.until_all_equal().await;
    let mut seqs: std::collections::BTreeMap<String, Vec<(u32, i64)>> =
        std::collections::BTreeMap::new();
    rig.lab.workspace.rows(
        0,
        |_, row| {
            if (row.resource_id == old && row.action == "Remove")
                || (row.resource_id == new && row.action == "Add")
            {
                seqs.entry(row.group_id.into_owned()).or_default().push((row.resource_id, row.seq));
            }
        },
        |_, _| {},
    );
    for holder in holders {
        let rows = &seqs[&holder];
        let of = |id| rows.iter().find(|(r, _)| *r == id).map(|(_, seq)| *seq);
        assert_eq!(of(old), of(new), "{holder}: {rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_with_one_name_are_kept_apart() {
    let mut rig = synced().await;
    {
        let mut world = rig.lab.world();
        world.rename_device(CLIENTS + 20, "TWIN");
        world.rename_device(CLIENTS + 21, "TWIN");
        let both = RoaringBitmap::from([CLIENTS + 20, CLIENTS + 21]);
        world.add_collection("PS1000F0", "Twins", "/", both);
    }
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_renamed_moved_deleted_and_created_again() {
    let mut rig = synced().await;
    {
        let mut world = rig.lab.world();
        world.collection_mut("PS100004").name = "Another name, with \"quotes\"".into();
        world.collection_mut("PS100005").folder = "/Elsewhere".into();
    }
    rig.until_all_equal().await;
    let gone = rig.lab.world().collections.remove("PS100004").unwrap();
    rig.until_all_equal().await;
    let fewer = gone.members.iter().skip(5).collect();
    rig.lab.world().add_collection("PS100004", "It is back", "/", fewer);
    rig.until_all_equal().await;
    assert!(rig.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_deselected_and_selected_again_goes_and_comes() {
    let mut rig = synced().await;
    let written = std::fs::read_to_string(&rig.config).unwrap();
    let all = rig.lab.device_collections();
    let some: Vec<String> = all.iter().filter(|id| *id != "PS100006").cloned().collect();
    let list = some.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(", ");
    let chosen = written.replace(r#"[{ name = "*" }]"#, &format!("[{list}]"));
    std::fs::write(&rig.config, &chosen).unwrap();
    rig.until_equal(&some).await;
    std::fs::write(&rig.config, &written).unwrap();
    rig.until_equal(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_whose_record_comes_late_becomes_a_member_then() {
    let mut rig = synced().await;
    let id = CLIENTS + 300_000;
    {
        let mut world = rig.lab.world();
        let device = cmsync_lab::world::Device {
            name: "LATE".into(),
            domain: "CONTOSO".into(),
            resource_type: 5,
            ..Default::default()
        };
        world.set_device(id, device);
        world.devices.insert(id);
        world.change_members("PS100001", &[id], &[]);
    }
    rig.two_polls().await;
    assert!(rig.report().equal);
    let device = rig.lab.world().device(id);
    rig.lab.world().set_device(id, cmsync_lab::world::Device { has_record: true, ..device });
    rig.until_all_equal().await;
    assert!(rig.lab.world().is_computer(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_move_before_the_rows_do_lose_nothing() {
    let mut rig = synced().await;
    rig.lab.world().freeze_rows("PS100002");
    let gone: Vec<u32> = rig.lab.world().collections["PS100002"].members.iter().take(4).collect();
    rig.lab.world().change_members("PS100002", &[CLIENTS + 390, CLIENTS + 391], &gone);
    rig.two_polls().await;
    rig.lab.world().thaw("PS100002");
    rig.until_all_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_visible_first_a_reader_sees_whole_groups() {
    let extra = "[producer]\nsnapshot_interval = \"1s\"";
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, extra).await;
    rig.start();
    rig.until_all_equal().await;
    let started = std::time::Instant::now();
    let lab = std::sync::Arc::clone(&rig.lab);
    rig.until(move || (lab.workspace.view("CAS", 0).marker_rows > 60).then_some(())).await;
    let ended = std::time::Instant::now();
    let longest = std::time::Duration::from_millis(1_500);
    let site: std::collections::BTreeMap<String, Vec<u32>> = {
        let world = rig.lab.world();
        let ids = cmsync_lab::Lab::device_collections_of(&world);
        ids.into_iter().map(|id| (id.clone(), world.computers(&id).into_keys().collect())).collect()
    };
    // From the moment at which the first snapshots are whole for everyone.
    let mut at = started + longest;
    let mut looks = 0;
    while at < ended + longest {
        for seed in 0..3 {
            let view = rig.lab.workspace.view("CAS", Sight { seed, at: Some((at, longest)) });
            for (id, members) in &site {
                assert!(view.groups[id].keys().eq(members), "{id} at {at:?}, seed {seed}");
            }
            looks += 1;
        }
        at += std::time::Duration::from_millis(150);
    }
    assert!(looks > 30, "{looks} looks");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_snapshots_keep_coming_and_say_the_same() {
    let extra = "[producer]\nsnapshot_interval = \"2s\"";
    let mut rig = Rig::with(options(small()), r#"[{ name = "*" }]"#, extra).await;
    rig.lab.start_churn(std::time::Duration::from_millis(50), 2);
    rig.start();
    let lab = std::sync::Arc::clone(&rig.lab);
    rig.until(move || (lab.workspace.view("CAS", 0).marker_rows > 40).then_some(())).await;
    rig.lab.stop_churn();
    rig.until_all_equal().await;
    assert_eq!(rig.lab.workspace.view("CAS", 0).instances.len(), 1);
}
