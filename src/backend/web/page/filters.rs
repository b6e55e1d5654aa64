//! The filters of a page: a form whose fields are the parameters of its address.

use maud::{Markup, html};

use crate::backend::insights::definitions::Window;
use crate::backend::insights::parameters::{ParameterName, Parameters, QuestionName};

/// A choice among values of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::web) struct ParameterFilter {
    /// The parameter.
    pub(in crate::backend::web) parameter: &'static str,
    /// Its name for people.
    pub(in crate::backend::web) label: &'static str,
    /// The values, in the order of the list.
    pub(in crate::backend::web) options: Vec<FilterOption>,
    /// The value of this view.
    pub(in crate::backend::web) chosen: String,
}

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::web) struct FilterOption {
    /// The value in the address.
    pub(in crate::backend::web) value: String,
    /// Its name for people.
    pub(in crate::backend::web) label: String,
}

/// Returns the filters of a question: its parameters that have a choice.
pub(super) fn filters_of(question: QuestionName, parameters: Parameters) -> Vec<ParameterFilter> {
    let filter = |parameter: ParameterName| ParameterFilter {
        parameter: parameter.as_str(),
        label: label(parameter),
        options: values(question, parameter).into_iter().map(|value| option(parameter, value)).collect(),
        chosen: parameters.value(parameter),
    };
    let with_choice = question.parameters().iter().copied().filter(|name| question.values(*name).len() > 1);
    with_choice.map(filter).collect()
}

/// Returns the values of a parameter in the order of people: windows shortest first.
fn values(question: QuestionName, parameter: ParameterName) -> Vec<&'static str> {
    let mut values = question.values(parameter);
    match parameter {
        ParameterName::Window => values.sort_by_key(|value| value.parse::<Window>().map(Window::days).ok()),
        ParameterName::Cover => values.sort_unstable(),
        ParameterName::Source | ParameterName::By | ParameterName::Component => {}
    }
    values
}

fn label(parameter: ParameterName) -> &'static str {
    match parameter {
        ParameterName::Window => "Window",
        ParameterName::Source => "Source",
        ParameterName::By => "Count by",
        ParameterName::Component => "Component",
        ParameterName::Cover => "Cover",
    }
}

fn option(parameter: ParameterName, value: &str) -> FilterOption {
    let label = match value {
        "kamaji" if parameter == ParameterName::Source => "Kamaji's built-in telemetry",
        "7d" => "7 days",
        "30d" => "30 days",
        "90d" => "90 days",
        "365d" => "365 days",
        "agent" => "This project's agent",
        "kamaji" => "Kamaji",
        "installations" => "Installations",
        "control-planes" => "Control planes",
        "kubernetes" => "Kubernetes",
        "80" => "80 %",
        "90" => "90 %",
        "95" => "95 %",
        other => other,
    };
    FilterOption { value: value.to_owned(), label: label.to_owned() }
}

/// Renders the form of the page at `path`.
pub(super) fn filters(path: &str, filters: &[ParameterFilter]) -> Markup {
    html! {
        form.filters method="get" action=(path) aria-label="Filters" {
            @for ParameterFilter { parameter, label, options, chosen } in filters {
                div {
                    label for={ "filter-" (parameter) } { (label) }
                    select id={ "filter-" (parameter) } name=(parameter) {
                        @for option in options {
                            option value=(option.value) selected[option.value == *chosen] { (option.label) }
                        }
                    }
                }
            }
            button { "Show" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_are_the_parameters_with_a_choice_and_every_value_has_a_label() {
        for question in QuestionName::ALL {
            let filters = filters_of(question, Parameters::default_of(question));
            for filter in &filters {
                assert!(filter.options.iter().any(|option| option.value == filter.chosen), "{question} {filter:?}");
                for FilterOption { value, label } in &filter.options {
                    assert!(label != value, "{value} has no label");
                }
            }
        }
        let names = |question| filters_of(question, Parameters::default_of(question)).len();
        assert_eq!((names(QuestionName::Health), names(QuestionName::Versions)), (1, 4), "health is of agents alone");
        let windows = &filters_of(QuestionName::Overview, Parameters::default_of(QuestionName::Overview))[0].options;
        assert_eq!(
            windows.iter().map(|window| window.value.as_str()).collect::<Vec<_>>(),
            ["7d", "30d", "90d", "365d"]
        );
    }
}
