//! Pages of the administration service.

#![no_main]

use cmsync_configmgr::{
    AdminService, Bearer, CollectionsSink, DeviceScope, Limits, MemberRow, PassSink, Passes as _,
    Settings, Site as _,
};
use cmsync_http::Secret;
use libfuzzer_sys::fuzz_target;

struct Rows(usize);

impl CollectionsSink for Rows {
    fn collection(&mut self, _: &str) {}

    fn row(&mut self, row: &MemberRow<'_>) {
        self.0 += row.name.len();
    }
}

impl PassSink for Rows {
    fn row(&mut self, collection: &str, row: &MemberRow<'_>) {
        self.0 += collection.len() + row.name.len();
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((call, data)) = data.split_first() else { return };
    let settings = Settings {
        providers: vec!["https://site.invalid/AdminService".parse().expect("a URL")],
        page_size: 3,
        account: Some("CONTOSO\\reader".into()),
        limits: Limits::default(),
    };
    let bearer = Box::new(Bearer::new(Secret::Given("token".into())));
    let site = AdminService::new(cmsync_fuzz::client(data), bearer, settings);
    let ids = ["PS100001".to_owned(), "PS100002".to_owned()];
    cmsync_fuzz::run(async {
        let mut rows = Rows(0);
        match call % 10 {
            0 => drop(site.collections().await),
            1 => drop(site.members_of(&ids[..1], &mut rows).await),
            2 => drop(site.members_of(&ids, &mut rows).await),
            3 => drop(site.collections_of(&ids).await),
            4 => drop(site.devices(&DeviceScope::After(-1)).await),
            5 => drop(site.devices(&DeviceScope::Ids(vec![1, 2, 3])).await),
            6 => drop(site.hierarchy().await),
            7 => drop(site.account().await),
            8 => drop(site.members_between((-1, 100), &mut rows).await),
            _ => drop((site.connection_point().await, site.database().await)),
        }
    });
});
