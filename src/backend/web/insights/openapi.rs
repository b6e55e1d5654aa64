//! The description of the API: the questions by their parameters and rows, and what admins read and erase.

use std::sync::LazyLock;

use axum::Json;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{
    Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref,
    RefOr, Required, Response, ResponseBuilder,
};
use utoipa::{IntoParams, ToSchema};

use super::negotiation::{FORMAT, formats, media_type, word};
use crate::backend::insights::answer::BOTH_SOURCES;
use crate::backend::insights::parameters::{ParameterError, ParameterName, QuestionName};
use crate::backend::insights::questions::row_schema;
use crate::backend::insights::render::AnswerFormat;
use crate::backend::insights::{EventList, InstallationList};
use crate::backend::store::{Erased, MatchedRows};
use crate::backend::web::audit_log::{AuditLogPage, AuditLogQuery};
use crate::backend::web::installations::{EventsQuery, InstallationsQuery};
use crate::backend::web::public::PublicWeeks;

/// The path of the description.
const PATH: &str = "/api/v1/openapi.json";

/// The path of the weeks of the public page.
const PUBLIC_WEEKS: &str = "/api/v1/public/weeks";

/// The security scheme of all other paths.
const TOKEN: &str = "token";

/// A schema with its name.
type NamedSchema = (String, RefOr<Schema>);

/// Responds with the description.
pub(in crate::backend::web) async fn json() -> Json<&'static OpenApi> {
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(document);
    Json(&DOCUMENT)
}

/// Returns the description.
fn document() -> OpenApi {
    let mut schemas = Vec::new();
    let mut operations: Vec<_> = QuestionName::ALL
        .into_iter()
        .map(|question| (question.api_path(), HttpMethod::Get, question_operation(question, &mut schemas)))
        .collect();
    operations.extend(admin_operations(&mut schemas));
    add_schema::<ParameterError>(&mut schemas);
    let own = OperationBuilder::new()
        .summary(Some("This description."))
        .response("200", of_json("This description.", ObjectBuilder::new().build()));
    operations.push((PATH, HttpMethod::Get, own.build()));
    let weeks = add_schema::<PublicWeeks<'_>>(&mut schemas);
    let public = OperationBuilder::new()
        .summary(Some("Weekly figures for everybody, where the backend serves its public page."))
        .response("200", of_json("The rule in words, and all published weeks.", weeks))
        .response("404", ResponseBuilder::new().description("The backend serves no public page."));
    operations.push((PUBLIC_WEEKS, HttpMethod::Get, public.build()));
    let mut paths = PathsBuilder::new();
    for (path, method, operation) in operations {
        paths = paths.path(path, PathItem::new(method, operation));
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token of a reader.")).build();
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(TOKEN, SecurityScheme::Http(bearer))
        .build();
    let info = InfoBuilder::new()
        .title("Kamaji telemetry")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "What is known of the installations of Kamaji, as figures for readers and as rows for admins.",
        ))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build()
}

fn question_operation(question: QuestionName, schemas: &mut Vec<NamedSchema>) -> Operation {
    let (name, row) = row_schema(question, schemas);
    let answer = format!("{}Answer", name.trim_end_matches("Row"));
    schemas.push((answer.clone(), answer_schema(question, &name).into()));
    schemas.push((name, row));
    let mut response = ResponseBuilder::new()
        .description("The answer. CSV has the rows alone, with the same names in the same order.")
        .content("application/json", ContentBuilder::new().schema(Some(Ref::from_schema_name(answer))).build());
    if formats(question).contains(&AnswerFormat::Csv) {
        response = response.content(media_type(AnswerFormat::Csv), ContentBuilder::new().schema(Some(text())).build());
    }
    let of_parameter =
        |parameter: &ParameterName| choice(parameter.as_str(), parameter.description(), &question.values(*parameter));
    let words: Vec<_> = formats(question).iter().copied().map(word).collect();
    let format = choice(FORMAT, "Format of the answer, before the one that the header Accept asks for.", &words);
    let operation = OperationBuilder::new()
        .operation_id(Some(question.as_str()))
        .tag("insights")
        .summary(Some(format!("Answer of the question {question}.")))
        .parameters(Some(question.parameters().iter().map(of_parameter).chain([format])))
        .response("200", response)
        .response(
            "304",
            ResponseBuilder::new().description("The answer is the one of If-None-Match, but for its time."),
        )
        .response("400", of_json("A parameter that cannot be used.", Ref::from_schema_name(ParameterError::name())));
    of_readers(operation).build()
}

/// Returns the schema of an answer with rows of this name.
fn answer_schema(question: QuestionName, row: &str) -> Object {
    let of_format =
        |format| ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)));
    // A question that does not take the parameter is about both, each in rows of its own.
    let is_asked = question.parameters().contains(&ParameterName::Source);
    let sources = if is_asked { question.values(ParameterName::Source) } else { vec![BOTH_SOURCES] };
    let windows = SchemaType::from_iter([Type::String, Type::Null]);
    let mut answer = ObjectBuilder::new()
        .property(
            "generated_at",
            of_format(KnownFormat::DateTime).description(Some("Time at which the store was read.")),
        )
        .property("data_through", of_format(KnownFormat::Date).description(Some("Last complete UTC day.")))
        .property("source", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(sources)))
        .property(
            "window",
            ObjectBuilder::new().schema_type(windows).description(Some("Window, if the question has one.")),
        )
        .property("answer", text_of("Answer as one sentence, with its doubt."))
        .property("notes", ArrayBuilder::new().items(text_of("Note on how to read the rows.")))
        .property("rows", Array::new(Ref::from_schema_name(row)));
    for name in ["generated_at", "data_through", "source", "window", "answer", "notes", "rows"] {
        answer = answer.required(name);
    }
    answer.build()
}

/// Returns the operations of admins.
fn admin_operations(schemas: &mut Vec<NamedSchema>) -> Vec<(&'static str, HttpMethod, Operation)> {
    let (log, installations) = (add_schema::<AuditLogPage>(schemas), add_schema::<InstallationList>(schemas));
    let (events, matched) = (add_schema::<EventList>(schemas), add_schema::<MatchedRows>(schemas));
    let erased = add_schema::<Erased>(schemas);
    let uuid = ParameterBuilder::new().name("uuid").parameter_in(ParameterIn::Path).required(Required::True);
    let uuid = uuid.description(Some("UUID of the installation.")).schema(Some(text())).build();
    let operation = |summary: &str, parameters: Vec<Parameter>, schema: Ref| {
        let operation = OperationBuilder::new().tag("admin").summary(Some(summary)).parameters(Some(parameters));
        of_readers(operation.response("200", of_json(summary, schema))).build()
    };
    vec![
        (
            "/api/v1/audit-log",
            HttpMethod::Get,
            operation("Newest entries of the audit log.", of::<AuditLogQuery>(&[]), log),
        ),
        (
            "/api/v1/installations",
            HttpMethod::Get,
            operation("Installations that match.", of::<InstallationsQuery>(&["dry_run"]), installations),
        ),
        (
            "/api/v1/installations",
            HttpMethod::Delete,
            operation("Erases the installations that match.", of::<InstallationsQuery>(&["limit"]), matched.clone()),
        ),
        ("/api/v1/installations/{uuid}", HttpMethod::Delete, operation("Erases an installation.", vec![uuid], erased)),
        (
            "/api/v1/events",
            HttpMethod::Get,
            operation("Newest events that match, newest first.", of::<EventsQuery>(&["dry_run"]), events),
        ),
        (
            "/api/v1/events",
            HttpMethod::Delete,
            operation("Erases the events that match.", of::<EventsQuery>(&["limit"]), matched),
        ),
    ]
}

/// Returns the parameters of a query without some.
fn of<Q: IntoParams>(without: &[&str]) -> Vec<Parameter> {
    let all = Q::into_params(|| Some(ParameterIn::Query));
    all.into_iter().filter(|parameter| !without.contains(&parameter.name.as_str())).collect()
}

/// Adds the responses to those who may not read, and to all while the store cannot be read.
fn of_readers(operation: OperationBuilder) -> OperationBuilder {
    let responses = [
        ("401", "No token, or one that is not valid."),
        ("403", "A token whose role is too low."),
        ("429", "Too many requests."),
        ("503", "The store cannot be read, or the audit log not written."),
    ];
    let operation = operation.security(SecurityRequirement::new(TOKEN, [""; 0]));
    responses.into_iter().fold(operation, |operation, (status, description)| {
        let content = ContentBuilder::new().schema(Some(text())).build();
        operation.response(status, ResponseBuilder::new().description(description).content("text/plain", content))
    })
}

fn of_json(description: &str, schema: impl Into<RefOr<Schema>>) -> Response {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

/// Returns a parameter of a query that takes one of these words, the default first.
fn choice(name: &str, description: &str, words: &[&str]) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied()));
    let schema = schema.default(words.first().map(|word| (*word).into()));
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
    parameter.description(Some(description)).schema(Some(schema)).build()
}

fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

fn text_of(description: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).build()
}

/// Adds a type's schema, and those of its fields. Returns the reference to it.
fn add_schema<T: ToSchema>(schemas: &mut Vec<NamedSchema>) -> Ref {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name())
}
