//! The SQL functions that SQLite lacks and our statements use.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

/// Gives a connection our functions.
///
/// - `fold(text)`: text in Unicode lower case, for comparisons that are blind to case.
pub fn register(connection: &Connection) -> rusqlite::Result<()> {
    connection.create_scalar_function("fold", 1, FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC, |context| {
        let text: Option<String> = context.get(0)?;
        Ok(text.map(|t| t.to_lowercase()))
    })
}
