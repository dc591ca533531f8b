//! The members of one collection: by key, page after page, or in one piece where a server does not keep
//! the order that this stands on.

use url::Url;

use crate::admin_service::AdminService;
use crate::error::Error;
use crate::query::Query;
use crate::rows::Member;
use crate::site::{CollectionsSink, MemberRow, MemberSink};

/// Takes the rows of one collection for whoever takes those of several.
pub(crate) struct One<'a> {
    pub(crate) id: &'a str,
    pub(crate) sink: &'a mut dyn CollectionsSink,
}

impl MemberSink for One<'_> {
    fn row(&mut self, row: &MemberRow<'_>) {
        self.sink.row(row);
    }

    fn restart(&mut self) {
        self.sink.collection(self.id);
    }
}

impl AdminService {
    /// Every member, at one provider.
    pub(crate) async fn read_members(
        &self,
        provider: &Url,
        collection: &str,
        sink: &mut dyn MemberSink,
    ) -> Result<(), Error> {
        sink.restart();
        if !self.members_by_key(provider, collection, sink).await? {
            tracing::warn!(
                collection,
                "site does not keep the order of pages; reading in one piece"
            );
            sink.restart();
            self.members_at_once(provider, collection, sink).await?;
        }
        Ok(())
    }

    /// Members page by page; `Ok(false)` when the server does not keep order or boundaries.
    async fn members_by_key(
        &self,
        provider: &Url,
        collection: &str,
        sink: &mut dyn MemberSink,
    ) -> Result<bool, Error> {
        let mut after = -1;
        loop {
            let query = Query {
                class: "SMS_FullCollectionMembership",
                options: vec![
                    (
                        "$filter",
                        format!("CollectionID eq '{collection}' and ResourceID gt {after}"),
                    ),
                    ("$select", Member::SELECT.to_owned()),
                    ("$orderby", "ResourceID".to_owned()),
                    ("$top", self.page_size().to_string()),
                ],
            };
            let (mut last, mut in_order) = (after, true);
            let count = self
                .rows(provider, &query, &mut |row| {
                    let row: Member<'_> = serde_json::from_slice(row)?;
                    let is_ours = row.collection.as_deref().is_none_or(|c| c == collection);
                    let row = row.into_row();
                    in_order &= is_ours && row.resource_id > last;
                    last = row.resource_id;
                    sink.row(&row);
                    Ok(())
                })
                .await?;
            if !in_order {
                return Ok(false);
            }
            if count < self.page_size() {
                return Ok(true);
            }
            after = last;
        }
    }

    /// Members in one unpaged answer, in whatever order they come.
    async fn members_at_once(
        &self,
        provider: &Url,
        collection: &str,
        sink: &mut dyn MemberSink,
    ) -> Result<(), Error> {
        let query = Query {
            class: "SMS_FullCollectionMembership",
            options: vec![
                ("$filter", format!("CollectionID eq '{collection}'")),
                ("$select", Member::SELECT.to_owned()),
            ],
        };
        self.rows(provider, &query, &mut |row| {
            let row: Member<'_> = serde_json::from_slice(row)?;
            if row.collection.as_deref().is_none_or(|c| c == collection) {
                sink.row(&row.into_row());
            }
            Ok(())
        })
        .await
        .map(drop)
    }
}
