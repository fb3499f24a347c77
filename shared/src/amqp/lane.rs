//! One confirm channel with a single owner and a bounded window of unconfirmed messages.
//!
//! A single owner, because two threads on one channel can cross delivery tags, and a confirm would then call
//! the wrong message safe. lapin hands a returned message to whichever confirm completes next, so returns are
//! matched by message id: nothing is answered before the owner of every return seen so far is confirmed too, since
//! a confirm that carries another message's return may itself have been returned.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::{mpsc, oneshot, watch};

use super::properties;
use super::publisher::{Epoch, PublishFault, Request};
use crate::contract::{Field, Route, WireMessage};

/// Most unconfirmed messages of a channel. lapin scans all of them for each cumulative confirm, so more would
/// cost more than it brings.
pub(super) const WINDOW: usize = 512;

/// One publish whose confirm came, or whose channel broke.
struct Confirmed {
    id: String,
    answer: oneshot::Sender<Result<(), PublishFault>>,
    result: lapin::Result<Confirmation>,
}

/// How often each message id came back and was not yet answered: copies of one message share their id.
type Returned = HashMap<String, usize>;

/// Serves requests over one channel of each connection in turn, until every publisher is gone. A request that is dropped is
/// answered as unknown.
pub(super) async fn run(mut requests: mpsc::Receiver<Request>, mut epochs: watch::Receiver<Option<Epoch>>) {
    while let Some((epoch, first)) = connection(&mut requests, &mut epochs).await {
        if epoch.lost.is_cancelled() {
            // The supervisor has not withdrawn it yet.
            let _ = epochs.changed().await;
            continue;
        }
        let opened = tokio::select! {
            opened = open(&epoch) => opened,
            () = epoch.lost.cancelled() => continue,
        };
        match opened {
            Ok(channel) => {
                if serve(channel, first, &mut requests, &epoch).await.is_none() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "cannot open a confirm channel"),
        }
        epoch.lost.cancel();
    }
}

/// Waits for a connection, and tells requests that come meanwhile that there is none. A request that was sent because of a
/// new connection may be here before the word of it: it comes along. `None` when every publisher is gone.
async fn connection<E: Clone>(
    requests: &mut mpsc::Receiver<Request>,
    epochs: &mut watch::Receiver<Option<E>>,
) -> Option<(E, Option<Request>)> {
    let now = epochs.clone();
    loop {
        tokio::select! {
            biased;
            found = epochs.wait_for(Option::is_some) => return Some((found.ok()?.clone()?, None)),
            request = requests.recv() => {
                let (request, connected) = (request?, now.borrow().clone());
                if let Some(epoch) = connected {
                    return Some((epoch, Some(request)));
                }
                let _ = request.answer.send(Err(PublishFault::Unavailable));
            }
        }
    }
}

async fn open(epoch: &Epoch) -> lapin::Result<Channel> {
    let channel = epoch.connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Runs until the connection is lost (`Some`) or every publisher is gone (`None`).
async fn serve(
    channel: Channel,
    first: Option<Request>,
    requests: &mut mpsc::Receiver<Request>,
    epoch: &Epoch,
) -> Option<()> {
    let mut pending: FuturesUnordered<_> = first.into_iter().map(|request| publish(&channel, request)).collect();
    let mut waiting = Vec::new();
    let mut lost = pin!(epoch.lost.cancelled());
    loop {
        let room = WINDOW - pending.len();
        tokio::select! {
            biased;
            () = &mut lost => return Some(()),
            Some(first) = pending.next(), if !pending.is_empty() => {
                if !settle(first, &mut pending).await {
                    return Some(());
                }
            }
            taken = requests.recv_many(&mut waiting, room), if room > 0 => {
                if taken == 0 {
                    return None;
                }
                pending.extend(waiting.drain(..).map(|request| publish(&channel, request)));
            }
        }
    }
}

async fn publish(channel: &Channel, Request { route, message, answer }: Request) -> Confirmed {
    let result = confirmed(channel, &route, &message).await;
    let id = message.get(Field::MessageId).unwrap_or_default().to_owned();
    Confirmed { id, answer, result }
}

async fn confirmed(channel: &Channel, route: &Route, message: &Arc<WireMessage>) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: route.is_mandatory(), ..BasicPublishOptions::default() };
    let properties = properties::write(message);
    let (exchange, key) = (route.exchange.as_str().into(), route.routing_key.as_str().into());
    channel.basic_publish(exchange, key, options, &message.body, properties).await?.await
}

/// Answers everything that is ready. False when the channel broke.
async fn settle(first: Confirmed, pending: &mut FuturesUnordered<impl Future<Output = Confirmed>>) -> bool {
    let mut ready = vec![first];
    let mut returned;
    loop {
        while let Some(Some(next)) = pending.next().now_or_never() {
            ready.push(next);
        }
        returned = returns(&ready);
        let missing = |(id, count): (&String, &usize)| ready.iter().filter(|c| c.id == *id).count() < *count;
        if !returned.iter().any(missing) {
            break;
        }
        // The owner of a return is confirmed in the same breath; who carries it may have been returned as well.
        match pending.next().await {
            Some(next) => ready.push(next),
            None => break,
        }
    }
    let mut healthy = true;
    for Confirmed { id, answer, result } in ready {
        let verdict = match result {
            Ok(Confirmation::Ack(_)) if take(&mut returned, &id) => Err(PublishFault::Unroutable),
            Ok(Confirmation::Ack(_)) => Ok(()),
            Ok(Confirmation::Nack(_)) => Err(PublishFault::Refused),
            // Without confirm mode a confirm proves nothing.
            Ok(Confirmation::NotRequested) => Err(PublishFault::Unknown),
            Err(_) => Err(PublishFault::Unknown),
        };
        healthy &= verdict != Err(PublishFault::Unknown);
        // Nobody waits any more when the publish timed out.
        let _ = answer.send(verdict);
    }
    healthy
}

/// The returns that these confirms carry, by the message they belong to.
fn returns(ready: &[Confirmed]) -> Returned {
    let mut returned = Returned::new();
    for confirmed in ready {
        if let Ok(Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back))) = &confirmed.result {
            let id = back.delivery.properties.message_id().as_ref().map_or("", |id| id.as_str());
            *returned.entry(id.to_owned()).or_default() += 1;
        }
    }
    returned
}

/// Was this one returned? Each return answers for one copy.
fn take(returned: &mut Returned, id: &str) -> bool {
    let Some(count) = returned.get_mut(id) else { return false };
    *count -= 1;
    if *count == 0 {
        returned.remove(id);
    }
    true
}

#[cfg(test)]
mod tests {
    use futures_util::future::{self, BoxFuture};

    use super::*;

    type Pending = FuturesUnordered<BoxFuture<'static, Confirmed>>;

    fn ready(
        id: &str,
        result: Confirmation,
    ) -> (BoxFuture<'static, Confirmed>, oneshot::Receiver<Result<(), PublishFault>>) {
        let (answer, verdict) = oneshot::channel();
        let id = id.to_owned();
        (future::ready(Confirmed { id, answer, result: Ok(result) }).boxed(), verdict)
    }

    fn request() -> (Request, oneshot::Receiver<Result<(), PublishFault>>) {
        let (answer, verdict) = oneshot::channel();
        (Request { route: Route::audit(), message: Arc::default(), answer }, verdict)
    }

    #[tokio::test]
    async fn a_request_that_is_here_before_the_word_of_its_connection_is_not_told_that_there_is_none() {
        let ((sender, mut requests), (epochs, mut epoch)) = (mpsc::channel(2), watch::channel(None));
        let (early, told) = request();
        assert!(sender.send(early).await.is_ok());
        let waiting = tokio::spawn(async move { connection(&mut requests, &mut epoch).await });
        assert_eq!(told.await.unwrap(), Err(PublishFault::Unavailable));
        // The new value is there, and nobody has been woken for it.
        epochs.send_if_modified(|epoch| {
            *epoch = Some(1);
            false
        });
        let (prompt, _verdict) = request();
        assert!(sender.send(prompt).await.is_ok());
        let (epoch, first) = waiting.await.unwrap().unwrap();
        assert_eq!((epoch, first.is_some()), (1, true));
    }

    #[tokio::test]
    async fn without_confirm_mode_nothing_is_a_success() {
        let mut pending = Pending::new();
        let (first, verdict) = ready("a", Confirmation::NotRequested);
        assert!(!settle(first.await, &mut pending).await);
        assert_eq!(verdict.await.unwrap(), Err(PublishFault::Unknown));
    }

    #[tokio::test]
    async fn a_refusal_is_no_success_and_harms_no_neighbour() {
        let mut pending = Pending::new();
        let (first, refused) = ready("a", Confirmation::Nack(None));
        let (second, fine) = ready("b", Confirmation::Ack(None));
        pending.push(second);
        assert!(settle(first.await, &mut pending).await);
        assert_eq!(refused.await.unwrap(), Err(PublishFault::Refused));
        assert_eq!(fine.await.unwrap(), Ok(()));
    }
}
