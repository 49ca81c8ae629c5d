//! Operations and the answers that they must have, to the letter, on every database: a case is a folder of `tests/cases`.

use klio_tests::{Product, cases, folder, on_each_database};

on_each_database!(every_case);

async fn every_case(product: Product) {
    // Each case starts on a product of its own: the first is given, the others are made here.
    let backend = product.backend;
    let mut given = Some(product);
    let mut folders: Vec<_> = std::fs::read_dir(folder().join("cases"))
        .expect("tests/cases is there")
        .flatten()
        .map(|e| e.path())
        .collect();
    folders.sort();
    let only = std::env::var("KLIO_TEST_CASE").unwrap_or_default();
    let mut faults = Vec::new();
    let mut steps = 0;
    for case in folders.iter().filter(|f| f.is_dir() && f.to_string_lossy().contains(&only)) {
        let product = match given.take() {
            Some(product) => product,
            None => Product::start(backend).await.expect("it started before"),
        };
        match cases::run(&product, case).await {
            Ok(count) => steps += count,
            Err(found) => faults.extend(found),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(steps > 0, "there are cases");
    eprintln!("{steps} operations answered as expected on {backend:?}");
}
