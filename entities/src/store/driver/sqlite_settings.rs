//! What is set for SQLite itself rather than for one use of it.

use std::sync::Once;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Result, ffi};

/// Before the first connection of this process is opened: no count is kept of the memory that SQLite uses. For that count every
/// thread takes one lock with each piece of memory, so readers would wait for each other.
pub(crate) fn prepare() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // SAFETY: `SQLITE_CONFIG_MEMSTATUS` takes one `int`, which is given. The call is not for use beside other calls of SQLite:
        // the store opens its first connection after it, and `Once` keeps others back until it is over. Where someone else has
        // opened a database before, SQLite is initialised already, and then refuses the call and changes nothing.
        unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as std::ffi::c_int) };
    });
}

/// Plans stay as they are, whatever is bound. Otherwise a statement that compares an indexed column of an analysed table with a
/// parameter is made anew for each value, which takes longer than to run it.
pub(crate) fn keep_plans(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}
