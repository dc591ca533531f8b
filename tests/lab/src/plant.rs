//! What goes wrong in a workspace after its 204, on request.

use std::sync::PoisonError;

use serde_json::json;

use crate::workspace::Workspace;

impl Workspace {
    /// Loses every row of a member that was taken until now.
    pub fn lose(&self, group: &str, resource_id: u32) {
        let mut newest = 0;
        self.rows(
            0,
            |_, row| {
                if row.group_id == group && row.resource_id == resource_id {
                    newest = newest.max(row.seq);
                }
            },
            |_, _| {},
        );
        let key = (group.to_owned(), resource_id);
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(key, newest);
    }

    /// Puts a member row in that nobody sent.
    pub fn plant_member(&self, site: &str, group: &str, resource_id: u32, seq: i64) {
        let row = json!([{"TimeGenerated": jiff::Timestamp::now().to_string(), "SiteCode": site,
            "GroupId": group, "ResourceId": resource_id, "Computer": "planted.contoso.com",
            "NetbiosName": "PLANTED", "AssignedSite": null, "Action": "Add", "Seq": seq}]);
        self.plant("Custom-ConfigMgrCollectionMember", &row.to_string());
    }

    /// Puts a marker of another installation in.
    pub fn plant_marker(&self, site: &str, group: &str, instance: &str, seq: i64) {
        let row = json!([{"TimeGenerated": jiff::Timestamp::now().to_string(), "SiteCode": site,
            "GroupId": group, "Group": "Planted", "GroupFullName": "/Planted", "MemberCount": 0,
            "RunId": "planted", "StartSeq": seq, "Seq": seq, "Instance": instance, "Status": "Complete"}]);
        self.plant("Custom-ConfigMgrCollection", &row.to_string());
    }

    /// Puts a body in that nobody sent.
    pub fn plant(&self, stream: &str, text: &str) {
        self.take(stream, text.to_owned().into(), false);
    }
}
