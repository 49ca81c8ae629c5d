//! `beat`: a caller is at an object. It is told to all nodes and kept by none for longer than it lasts; see
//! `klio_subscriptions::presence`.

use chrono::Utc;
use klio_entities::klass::Fault;
use klio_entities::klass::fault::Code as FaultCode;
use klio_subscriptions::presence::LASTS;

use super::Gateway;
use super::leaf;
use super::mutate::errors;
use super::record::{Cell, Record};
use super::run::Run;
use super::subscribe::any_object;
use crate::error::{Code, Error};
use crate::plan::coerce::Arguments;

impl Gateway {
    /// Beats, and answers the payload's record.
    pub(super) async fn beat(&self, run: &Run<'_>, arguments: &Arguments) -> Result<Cell, Error> {
        let (actor, registry) = (run.actor, &run.schema.registry);
        let who = actor.to_text();
        let presences = self.live.presences();
        let found = match any_object(registry, arguments) {
            // Whoever is there already came to something that exists.
            Ok((_, id)) if presences.knows(actor.org, id.0, &who) => Ok(id),
            Ok((klass, id)) => self.customer(actor, run.schema, &klass, id).await.map(|_| id),
            Err(error) => Err(error),
        };
        let (until, faults) = match found {
            Ok(id) => match arguments.given("activity").and_then(|it| it.as_str()) {
                Some("GONE") => {
                    presences.gone(actor.org, id.0, who);
                    (Cell::NULL, Vec::new())
                }
                activity => {
                    presences.beat(actor.org, id.0, who, activity == Some("TYPING"));
                    let mut text = Vec::new();
                    leaf::instant(&mut text, Utc::now() + LASTS);
                    (Cell::text(String::from_utf8_lossy(&text)), Vec::new())
                }
            },
            Err(error) if error.code == Code::NotFound => {
                let fault = Fault::new(FaultCode::NotFound, ["of"], "There is no object with this id.");
                (Cell::NULL, vec![fault])
            }
            Err(error) => return Err(error),
        };
        let fields = vec![("until", until), ("errors", errors(faults, None))];
        Ok(Cell::Record(Record::Made("BeatPayload".into(), fields)))
    }
}
