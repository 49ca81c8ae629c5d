//! Pressure while writers write and subscribers listen: a transaction that does not end, nodes that come and go. Whoever is not at fault
//! hears everything, once and in order.

use klio_tests::load::{Dice, Load, SETS, judge};
use klio_tests::processes::Gateway;
use klio_tests::wires::Wires;
use klio_tests::{Backend, new_database};
use sea_orm::{ConnectionTrait, Database, TransactionTrait};

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_holds_one_customer() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Postgres, &folder).await else {
        return;
    };
    let gateway = Gateway::start(&database, &SETS).await;
    let load = Load::start(&gateway, &gateway.url.clone()).await;
    let mut dice = Dice(6);
    let connection = Database::connect(&database).await.expect("a connection");
    for _ in 0..3 {
        load.more(20).await;
        // The row that gives the customer's events their numbers; whoever writes to this customer waits, and no event that is younger
        // than this transaction is below the feed's horizon.
        let open = connection.begin().await.expect("a transaction");
        let hold = "update stream_head set seq = seq where stream in (select 'c:' || id from customer where external_id = 's0')";
        let held = open.execute_unprepared(hold).await.expect("it holds");
        assert_eq!(held.rows_affected(), 1, "there is such a stream");
        dice.wait(1_500, 2_500).await;
        open.rollback().await.expect("it ends");
    }
    load.more(20).await;
    judge("a transaction holds one customer three times", &load.verdict().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_restarted_one_after_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Postgres, &folder).await else {
        return;
    };
    // Without a bus: what one node commits is found by the other's sweep.
    let mut one = Gateway::start(&database, &SETS).await;
    let mut two = Gateway::start(&database, &SETS).await;
    let wires = Wires::to(&[two.address(), one.address()]).await;
    let load = Load::start(&one, &wires.url()).await;
    let mut dice = Dice(7);
    for _ in 0..2 {
        for node in [&mut one, &mut two] {
            load.more(20).await;
            dice.wait(0, 300).await;
            node.end().await;
            dice.wait(0, 300).await;
            node.run().await;
        }
    }
    load.more(20).await;
    judge("two nodes are restarted in turn", &load.verdict().await);
}
