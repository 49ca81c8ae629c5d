//! One operation, as whoever asked for it is to hear of it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use klio_entities::klass::Actor;
use klio_schema::execute::{Allow, Message, OperationType, Request};
use tokio::time::Instant;

use crate::App;
use crate::http::trace;

/// What an operation says.
#[derive(Clone, Debug)]
pub enum Said {
    /// It is a subscription: it does not end by itself.
    Lasts,
    /// A whole response.
    Next(Message),
    /// It failed before it was executed: a response with nothing but `errors`. There will be no more.
    Failed(Bytes),
    /// It has ended. There will be no more.
    Done,
}

/// Runs an operation of any kind. `way`: by which transport it came, for logs and metrics.
pub async fn operation(app: Arc<App>, actor: Arc<Actor>, way: &'static str, request: Request, allow: Allow) -> BoxStream<'static, Said> {
    let began = Instant::now();
    if let Ok(OperationType::Subscription) = app.gateway.operation_kind(&actor, &request).await {
        let name = request.operation.clone();
        let subscribed = app.gateway.subscribe(&actor, request).await;
        app.metrics.subscription(way, subscribed.is_ok());
        return match subscribed {
            Ok(stream) => {
                trace::subscription(way, name, &actor, began.elapsed());
                said([Said::Lasts]).chain(stream.map(Said::Next)).chain(said([Said::Done])).boxed()
            }
            Err(answer) => {
                app.metrics.errors(&answer.stats.codes);
                trace::operation(way, &answer, &actor, began.elapsed());
                said([Said::Failed(answer.body)]).boxed()
            }
        };
    }
    let answer = app.gateway.execute(&actor, request, allow).await;
    app.metrics.operation(way, &answer, began.elapsed());
    trace::operation(way, &answer, &actor, began.elapsed());
    if answer.executed {
        let message = Message::of(answer.body);
        said([Said::Next(message), Said::Done]).boxed()
    } else {
        said([Said::Failed(answer.body)]).boxed()
    }
}

fn said<const N: usize>(what: [Said; N]) -> impl Stream<Item = Said> + Send + 'static {
    futures_util::stream::iter(what)
}
