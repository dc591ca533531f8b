//! Where the queue is: a file of this machine, or Kafka.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cmsync_http::Client;
use cmsync_queue::kafka::{KafkaOptions, KafkaQueue, Token, TokenSource};
use cmsync_queue::{Error, Queue, embedded};
use cmsync_registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::config::{Config, EntraTokens, Kafka};
use crate::connections;
use crate::framing::{Framed, Ids};

/// How long a queue that another process holds is waited for.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a command waits for brokers that do not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why writing fails at the moment, if it does.
pub(crate) type Trouble = watch::Receiver<Option<String>>;

/// An open queue.
pub(crate) struct Opened {
    pub(crate) queue: Arc<dyn Queue>,
    /// One in a file says when it cannot be written.
    pub(crate) trouble: Option<Trouble>,
    /// One on Kafka says what this copy owns.
    pub(crate) kafka: Option<Arc<KafkaQueue>>,
}

impl Opened {
    /// Why writing fails, if it does.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.as_ref().and_then(|trouble| trouble.borrow().clone())
    }

    /// What this copy owns, where several share the work.
    pub(crate) fn owned(&self) -> Vec<String> {
        let owned = self.kafka.as_ref().map(|kafka| kafka.owned()).unwrap_or_default();
        let told = owned.into_iter().map(|(group, topic, count)| match count {
            0 => format!("{group} on {topic}: standing by"),
            1 => format!("{group} on {topic}: 1 partition"),
            _ => format!("{group} on {topic}: {count} partitions"),
        });
        told.collect()
    }
}

/// Opens the queue. One in a file may be held for a moment by a process that is just starting or
/// stopping, or by a command: that is waited out.
pub(crate) async fn open(config: &Config) -> anyhow::Result<Opened> {
    if let Some(kafka) = &config.kafka {
        let queue = open_kafka(kafka, None).await?;
        return Ok(Opened {
            queue: framed(kafka, &queue).await?,
            trouble: None,
            kafka: Some(queue),
        });
    }
    let started = Instant::now();
    loop {
        match embedded::open(&config.queue_directory) {
            Err(Error::Locked(_)) if started.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            opened => {
                let queue = Arc::new(opened?);
                let trouble = Some(queue.trouble());
                return Ok(Opened { queue, trouble, kafka: None });
            }
        }
    }
}

/// Reaches the brokers; waits for them no longer than `patience` where it is given.
async fn open_kafka(kafka: &Kafka, patience: Option<Duration>) -> Result<Arc<KafkaQueue>, Error> {
    let token = kafka.tokens().map(token_source).transpose();
    let token = token.map_err(|e| Error::Setting { key: "sasl".into(), detail: e.to_string() })?;
    let options = KafkaOptions { patience, token, ..kafka.options.clone() };
    Ok(Arc::new(KafkaQueue::open(options).await?))
}

/// Tokens for the brokers; whoever asks waits.
fn token_source(tokens: &EntraTokens) -> Result<TokenSource, cmsync_http::Error> {
    let EntraTokens { audience, identity, endpoints, http } = tokens;
    let credential = connections::credential_of(http, endpoints, identity.clone())?;
    let (runtime, audience) = (Handle::current(), audience.clone());
    Ok(Arc::new(move || {
        let (told, asked) = std::sync::mpsc::channel();
        let (credential, audience) = (Arc::clone(&credential), audience.clone());
        runtime.spawn(async move { told.send(credential.lasting(&audience).await) });
        let granted = asked.recv_timeout(PATIENCE).map_err(|_| "no answer in time".to_owned())?;
        let (value, end) = granted.map_err(|error| error.to_string())?;
        Ok(Token { value, principal: "cmsync".into(), expires: end.as_millisecond() })
    }))
}

/// The queue with a registry's ids in its messages, where there is a registry.
async fn framed(kafka: &Kafka, queue: &Arc<KafkaQueue>) -> anyhow::Result<Arc<dyn Queue>> {
    let queue = Arc::clone(queue) as Arc<dyn Queue>;
    let Some(registry) = &kafka.registry else { return Ok(queue) };
    let client = Client::new("registry", &registry.http)?;
    let registry = Registry::new(client, registry.url.clone(), registry.account.clone());
    let ids = Ids::register(registry, &kafka.options.prefix).await;
    Ok(Arc::new(Framed::new(queue, ids.context("`queue.kafka.schema_registry`")?)))
}

/// Opens the queue on Kafka and sees that its brokers can do what is needed.
pub(crate) async fn open_probed(config: &Config) -> anyhow::Result<Opened> {
    let Some(kafka) = &config.kafka else {
        let queue = open_for_command(config).await?;
        return Ok(Opened { queue, trouble: None, kafka: None });
    };
    let opened = open_kafka(kafka, Some(PATIENCE)).await?;
    let queue = framed(kafka, &opened).await?;
    opened.probe().await?;
    Ok(Opened { queue, trouble: None, kafka: Some(opened) })
}

/// Opens the queue for a command, if nobody holds it.
pub(crate) async fn open_if_free(config: &Config) -> anyhow::Result<Option<Arc<dyn Queue>>> {
    if let Some(kafka) = &config.kafka {
        let queue = open_kafka(kafka, Some(PATIENCE)).await?;
        return framed(kafka, &queue).await.map(Some);
    }
    match embedded::open(&config.queue_directory) {
        Ok(queue) => Ok(Some(Arc::new(queue))),
        Err(Error::Locked(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens the queue for a command; an error where somebody holds it.
pub(crate) async fn open_for_command(config: &Config) -> anyhow::Result<Arc<dyn Queue>> {
    let locked = || Error::Locked(config.queue_directory.clone());
    Ok(open_if_free(config).await?.ok_or_else(locked)?)
}
