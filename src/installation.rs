//! What all hosts of one installation agree on: messages of `cmsync.control` that are no connection's.

use cmsync_queue::{Error, Output, Queue};
use cmsync_schemas::{CONTROL, Control, Subject, topics};

/// All that was told of a subject.
pub(crate) async fn told(queue: &dyn Queue, subject: Subject) -> Result<Vec<Control>, Error> {
    let mut all = Vec::new();
    for entry in queue.scan(topics::CONTROL).await? {
        all.extend(CONTROL.decode(&entry?.1).ok().filter(|control| control.subject == subject));
    }
    Ok(all)
}

/// Tells all hosts; what was told of the same item before is replaced.
pub(crate) async fn tell(
    queue: &dyn Queue,
    (subject, item): (Subject, String),
    action: String,
    asked_at: i64,
) -> Result<(), Error> {
    let control = Control { connection: String::new(), subject, item, action, asked_at };
    let key = topics::control_key(&control.connection, subject, &control.item).into();
    let (topic, value) = (topics::CONTROL.to_owned(), Some(CONTROL.encode(&control)));
    queue.publish(vec![Output { topic, partition: 0, key, value }]).await.map(drop)
}
