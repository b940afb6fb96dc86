//! What a statement holds inside: statements in its `WITH`, and functions it calls.

use sqlparser::ast::{BinaryOperator, Expr, ObjectName, Select, Statement, TableFactor, Visit, Visitor};
use std::ops::ControlFlow;

/// Functions of the databases themselves that change nothing but a sequence.
const KNOWN: &str = " \
    abs age array_agg array_append array_cat array_length array_position array_remove array_to_json array_to_string avg bool_and bool_or \
    btrim cardinality cast ceil ceiling changes char_length character_length clock_timestamp coalesce concat concat_ws convert count curdate \
    current_date current_schema current_time current_timestamp current_user currval curtime date date_add date_format date_part date_sub \
    date_trunc datediff datetime day decode dense_rank digest encode exp extract first_value floor format from_unixtime gen_random_uuid \
    generate_series glob greatest group_concat hex hour if ifnull iif initcap insert instr isnull json json_agg json_array json_array_elements \
    json_array_length json_build_array json_build_object json_each json_extract json_insert json_object json_object_agg json_quote \
    json_remove json_replace json_set json_type json_unquote json_valid jsonb_agg jsonb_array_elements jsonb_array_elements_text \
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text \
    jsonb_insert jsonb_object_agg jsonb_object_keys jsonb_set jsonb_strip_nulls jsonb_typeof julianday lag last_day last_insert_id \
    last_insert_rowid last_value lcase lead least left length like ln localtime localtimestamp locate log lower lpad ltrim make_date \
    make_interval make_timestamp max md5 mid min mod month nextval now ntile nullif octet_length overlay pg_get_serial_sequence position \
    power quote random randomblob rank regexp_match regexp_matches regexp_replace regexp_split_to_array repeat replace reverse right round \
    row row_number row_to_json rpad rtrim second session_user setval sha2 sha224 sha256 sha384 sha512 sign split_part sqrt \
    statement_timestamp strftime string_agg string_to_array strpos substr substring sum sysdate time timediff timestamp timestampdiff \
    to_char to_date to_json to_jsonb to_number to_timestamp total transaction_timestamp translate trim trunc truncate typeof ucase unhex \
    unix_timestamp unixepoch unnest upper user utc_timestamp uuid uuid_generate_v1 uuid_generate_v4 uuidv4 uuidv7 week weekday year \
    zeroblob ";

/// Something inside a statement that may do more than the statement says.
pub(super) enum Inside {
    /// A statement in a `WITH`.
    Statement(Box<Statement>),
    /// A call of something that is not known.
    Call(String),
    /// `SELECT … INTO`.
    Into,
}

/// Returns what runs inside the statement when it runs. What a view, a function or a table's rules hold runs later, and not at all by itself.
pub(super) fn inside(statement: &Statement) -> Vec<Inside> {
    let runs_later = match statement {
        Statement::CreateView(view) => !view.materialized,
        Statement::CreateTable(table) => table.query.is_none(),
        Statement::CreateFunction(_) | Statement::CreateTrigger(_) | Statement::CreatePolicy(_) | Statement::CreateDomain(_) => true,
        _ => false,
    };
    let mut search = Search { found: Vec::new(), is_inside: false };
    if !runs_later {
        let _ = statement.visit(&mut search);
    }
    search.found
}

struct Search {
    found: Vec<Inside>,
    /// The outermost statement is visited too.
    is_inside: bool,
}

impl Search {
    fn call(&mut self, name: &ObjectName) {
        let known = |name: &str| KNOWN.contains(&format!(" {} ", name.to_lowercase()));
        let is_known = match name.0.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice() {
            [name] => known(name.trim_matches('"')),
            [schema, name] => schema.eq_ignore_ascii_case("pg_catalog") && known(name),
            _ => false,
        };
        if !is_known {
            self.found.push(Inside::Call(crate::model::text::visible_line(&name.to_string(), 80)));
        }
    }
}

impl Visitor for Search {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        if self.is_inside {
            self.found.push(Inside::Statement(Box::new(statement.clone())));
        }
        self.is_inside = true;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if select.into.is_some() {
            self.found.push(Inside::Into);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => self.call(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => self.call(&function.name),
            Expr::BinaryOp { op: BinaryOperator::PGCustomBinaryOperator(_) | BinaryOperator::Custom(_), .. } => {
                self.found.push(Inside::Call(expr.to_string().chars().take(40).collect()));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
