//! Which computer groups are kept, and how.

use std::time::Duration;

use cmsync_azure::WorkspaceId;
use cmsync_producer::StaticGroups;
use cmsync_uploader::groups::{GroupOptions, WRITES_PER_HOUR};

use super::checker::Checker;
use super::raw::{self, GroupKind};

/// What the producer makes of each group, and where and how groups are kept, if they are.
pub(super) fn groups(
    checker: &mut Checker,
    path: &str,
    written: &raw::Connection,
    snapshot_interval: Duration,
) -> (StaticGroups, Option<(WorkspaceId, GroupOptions)>) {
    let groups = &written.groups;
    let at = |key: &str| format!("{path}.groups.{key}");
    checker.require(
        groups.window >= snapshot_interval * 4,
        &at("window"),
        "must be four snapshot intervals or longer: a shorter one may hold no whole snapshot",
    );
    checker.require(
        (1..=WRITES_PER_HOUR).contains(&groups.writes_per_hour),
        &at("writes_per_hour"),
        "must lie between 1 and 1000: Azure Resource Manager takes about 1,200 an hour",
    );
    for id in groups.always_static.intersection(&groups.always_function) {
        checker.wrong(&at("static"), format!("`{id}` stands in `function` too"));
    }
    let up_to = match groups.kind {
        GroupKind::Automatic => groups.static_up_to,
        GroupKind::Static => u64::MAX,
        GroupKind::Function | GroupKind::None => 0,
    };
    let workspace = written.workspace.resource_id.as_deref().and_then(|text| {
        text.parse::<WorkspaceId>()
            .map_err(|error| checker.wrong(&format!("{path}.workspace.resource_id"), error))
            .ok()
    });
    let options = GroupOptions {
        names: groups.names,
        days: groups.days(),
        writes_per_hour: groups.writes_per_hour,
    };
    let kept = workspace.filter(|_| groups.kind != GroupKind::None).map(|id| (id, options));
    let statics = StaticGroups {
        are_kept: kept.is_some(),
        up_to,
        always: groups.always_static.clone(),
        never: groups.always_function.clone(),
    };
    (statics, kept)
}
