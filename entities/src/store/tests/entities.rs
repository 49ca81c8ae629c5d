//! The SeaORM entities fit their tables.

use sea_orm::{EntityTrait, ModelTrait, PaginatorTrait};
use uuid::Uuid;

use super::each;
use crate::store::Store;
use crate::tables::{
    company, conversation, customer, import_progress, klass_change, klass_definition, log_epoch, message, note, org, stream_head, team,
    token, user,
};

/// Selects every column of an entity, as its type: a column that is not there is an error.
async fn reads<E>(store: &Store) -> Option<E::Model>
where
    E: EntityTrait,
    E::Model: ModelTrait<Entity = E> + sea_orm::FromQueryResult + Send + Sync,
{
    let all = E::find().all(&store.connection()).await.unwrap();
    assert_eq!(E::find().count(&store.connection()).await.unwrap(), all.len() as u64);
    all.into_iter().next()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entity_reads_its_table() {
    each(|fresh| async move {
        let store = &fresh.store;
        let made = store.create_org("a", "A").await.unwrap();
        let (org, id, company) = (made.id, Uuid::now_v7(), Uuid::now_v7());
        let at = chrono::DateTime::from_timestamp_micros(1_790_000_000_123_456).unwrap();
        store
            .transact(move |tx| {
                Box::pin(async move {
                    let now = tx.dialect().instant(at);
                    let head = "(id, org_id, created_at, created_by, updated_at, updated_by";
                    let values = "values ($1, $2, $3, 'x', $3, 'x'";
                    let base = |id: Uuid| vec![id.into(), org.into(), now.clone()];
                    tx.execute(format!("insert into company {head}, name) {values}, 'C')"), base(company))
                        .await?;
                    let mut of_customer = base(id);
                    of_customer.extend([company.into(), serde_json::json!([{"email": "a@x.org"}]).into()]);
                    let date = if tx.dialect() == crate::store::Dialect::Sqlite {
                        "'2000-02-29'"
                    } else {
                        "date '2000-02-29'"
                    };
                    tx.execute(
                        format!("insert into customer {head}, birthday, company_id, emails) {values}, {date}, $4, $5)"),
                        of_customer,
                    )
                    .await?;
                    for table in ["\"user\"", "team"] {
                        tx.execute(format!("insert into {table} {head}, name) {values}, 'N')"), base(id))
                            .await?;
                    }
                    tx.execute(format!("insert into conversation {head}, customer_id) {values}, $1)"), base(id))
                        .await?;
                    tx.execute(
                        format!("insert into message {head}, conversation_id, channel, direction) {values}, $1, 'email', 'in')"),
                        base(id),
                    )
                    .await?;
                    tx.execute(format!("insert into note {head}, body) {values}, 'B')"), base(id)).await
                })
            })
            .await
            .unwrap();
        let it = reads::<customer::Entity>(store).await.unwrap();
        assert_eq!(
            (it.id, it.company_id, it.created_at.0, it.verified, it.deleted_at),
            (id, Some(company), at, false, None)
        );
        assert_eq!(it.birthday.unwrap().to_string(), "2000-02-29");
        assert_eq!(it.emails.unwrap()[0]["email"], "a@x.org");
        assert_eq!(it.conversation_count_open, 0);
        assert!(reads::<company::Entity>(store).await.is_some());
        assert_eq!(reads::<user::Entity>(store).await.unwrap().kind, "human");
        assert!(reads::<team::Entity>(store).await.is_some());
        assert_eq!(reads::<conversation::Entity>(store).await.unwrap().priority, 3);
        assert!(!reads::<message::Entity>(store).await.unwrap().auto);
        assert!(reads::<note::Entity>(store).await.is_some());
        assert_eq!(reads::<org::Entity>(store).await.unwrap(), made);
        assert_eq!(reads::<log_epoch::Entity>(store).await.unwrap().secret.len(), 32);
        reads::<token::Entity>(store).await;
        reads::<klass_definition::Entity>(store).await;
        reads::<klass_change::Entity>(store).await;
        reads::<import_progress::Entity>(store).await;
        reads::<stream_head::Entity>(store).await;
    })
    .await;
}
