//! Notes about objects of an org's own klasses: which klass, and which of its objects.

crate::sql::step!(
    "m0014_note_about",
    r#"
alter table note add column about_id {uuid};
alter table note add column about_klass text;
create index note_about_id_idx on note (about_id, id);
"#
);
