//! A figure from Prometheus, or whatever speaks its HTTP API: one instant query that gives one number.

use super::{MetricsSource, NoData, SourceError, endpoint::Endpoint, figure};
use crate::{model::text::visible_line, targets::http::escaped};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Asks `/api/v1/query`.
#[derive(Clone)]
pub struct PrometheusSource {
    endpoint: Endpoint,
    query: String,
    timeout: Duration,
}

/// The envelope of every answer: https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview
#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Value,
}

impl PrometheusSource {
    /// Returns a source that asks this server, `http://127.0.0.1:9090`; a path prefix is kept. Places in the query stand inside quotes.
    pub fn new(url: &str, query: &str, timeout: Duration) -> Result<Self, SourceError> {
        Ok(PrometheusSource { endpoint: Endpoint::parse(url)?, query: query.to_owned(), timeout })
    }

    /// Sends these headers, too.
    pub fn with_headers(mut self, headers: Vec<(String, String)>) -> Self {
        self.endpoint.headers = headers;
        self
    }

    /// Returns the labels of every series of the result, which is a vector.
    pub async fn series(&self, places: &[(&str, &str)]) -> Result<Vec<BTreeMap<String, String>>, NoData> {
        labels(&self.endpoint.fetch(&self.path(places), self.timeout, refusal).await?)
    }

    /// Returns the path that asks; the server is told to give up when we do.
    fn path(&self, places: &[(&str, &str)]) -> String {
        let query = places.iter().fold(self.query.clone(), |query, (name, value)| query.replace(&format!("{{{name}}}"), &quoted(value)));
        let prefix = self.endpoint.path().trim_end_matches('/');
        format!("{prefix}/api/v1/query?query={}&timeout={}ms", escaped(&query), self.timeout.as_millis())
    }
}

#[async_trait]
impl MetricsSource for PrometheusSource {
    async fn read(&self, places: &[(&str, &str)]) -> Result<f64, NoData> {
        value(&self.endpoint.fetch(&self.path(places), self.timeout, refusal).await?)
    }
}

/// Returns the text as it stands inside a quoted string of PromQL.
fn quoted(text: &str) -> String {
    text.chars().fold(String::new(), |mut done, character| {
        if matches!(character, '\\' | '"' | '\'') {
            done.push('\\');
        }
        match character {
            '\n' => done.push_str("\\n"),
            character => done.push(character),
        }
        done
    })
}

/// Returns the error that the body of a failure states, if it does.
fn refusal(body: &[u8]) -> Option<NoData> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    (envelope.status == "error").then(|| refused(envelope))
}

fn refused(envelope: Envelope) -> NoData {
    let shown = |text: Option<String>| visible_line(&text.unwrap_or_else(|| "unknown".into()), 200);
    NoData::Refused { kind: shown(envelope.error_type), message: shown(envelope.error) }
}

/// Returns what a whole answer holds.
fn data(body: &[u8]) -> Result<Data, NoData> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|err| NoData::Malformed { message: err.to_string() })?;
    if envelope.status != "success" {
        return Err(refused(envelope));
    }
    // A part of the series is no figure: what is missing may be what is wrong.
    if !envelope.warnings.is_empty() {
        return Err(NoData::Incomplete { warnings: visible_line(&envelope.warnings.join("; "), 200) });
    }
    envelope.data.ok_or_else(|| NoData::Malformed { message: "a success without data".into() })
}

/// Returns the labels of every series an answer holds.
fn labels(body: &[u8]) -> Result<Vec<BTreeMap<String, String>>, NoData> {
    #[derive(Deserialize)]
    struct Series {
        metric: BTreeMap<String, String>,
    }
    let data = data(body)?;
    match data.result_type.as_str() {
        "vector" => {
            let series: Vec<Series> = serde_json::from_value(data.result).map_err(|err| NoData::Malformed { message: err.to_string() })?;
            Ok(series.into_iter().map(|one| one.metric).collect())
        }
        other => Err(NoData::WrongType { found: visible_line(other, 40) }),
    }
}

/// Returns the one number an answer holds.
fn value(body: &[u8]) -> Result<f64, NoData> {
    let malformed = |message: &str| NoData::Malformed { message: message.to_owned() };
    let data = data(body)?;
    let sample = match (data.result_type.as_str(), &data.result) {
        ("scalar", sample) => sample,
        ("vector", Value::Array(series)) => match series.as_slice() {
            [] => return Err(NoData::Empty),
            [one] if one.get("histogram").is_some() => return Err(NoData::WrongType { found: "native histogram".into() }),
            [one] => one.get("value").ok_or_else(|| malformed("a series without a value"))?,
            several => return Err(NoData::Several { count: several.len() as u64 }),
        },
        (other, _) => return Err(NoData::WrongType { found: visible_line(other, 40) }),
    };
    match sample.as_array().map(Vec::as_slice) {
        Some([_, Value::String(text)]) => figure(text),
        _ => Err(malformed("a sample is not a pair of time and text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(series: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
    }

    fn sample(text: &str) -> Result<f64, NoData> {
        value(vector(&format!(r#"{{"metric":{{}},"value":[1435781451.781,"{text}"]}}"#)).as_bytes())
    }

    #[test]
    fn one_number_is_a_figure() {
        assert_eq!(sample("0.125"), Ok(0.125));
        assert_eq!(sample("0"), Ok(0.0));
        assert_eq!(sample("1e-05"), Ok(0.00001));
        let scalar = br#"{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"1"]},"infos":["PromQL info: x"]}"#;
        assert_eq!(value(scalar), Ok(1.0));
    }

    #[test]
    fn what_is_not_a_number_has_a_name_and_is_never_zero() {
        for none in ["NaN", "+Inf", "-Inf", "", "x"] {
            assert_eq!(sample(none), Err(NoData::NotANumber { found: none.into() }));
        }
        assert_eq!(value(vector("").as_bytes()), Err(NoData::Empty));
        let matrix = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert_eq!(value(matrix), Err(NoData::WrongType { found: "matrix".into() }));
        let text = br#"{"status":"success","data":{"resultType":"string","result":[1,"5"]}}"#;
        assert_eq!(value(text), Err(NoData::WrongType { found: "string".into() }));
        assert_eq!(
            value(vector(r#"{"metric":{},"histogram":[1,{}]}"#).as_bytes()),
            Err(NoData::WrongType { found: "native histogram".into() })
        );
        for broken in
            ["", "<html>", "{}", r#"{"status":"success"}"#, &vector(r#"{"metric":{}}"#), &vector(r#"{"metric":{},"value":[1,5]}"#)]
        {
            assert!(matches!(value(broken.as_bytes()), Err(NoData::Malformed { .. })), "{broken}");
        }
        let error = br#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#;
        assert_eq!(
            value(error),
            Err(NoData::Refused { kind: "timeout".into(), message: "query timed out in expression evaluation".into() })
        );
        let partial = vector(r#"{"metric":{},"value":[1,"0"]}"#).replace("}}", r#"}},"warnings":["remote read: 1 of 2 failed"]"#);
        assert!(value(partial.as_bytes()).is_err());
    }

    #[test]
    fn every_series_is_told_by_its_labels_and_a_part_of_them_is_no_answer() {
        let two = vector(r#"{"metric":{"alertname":"Slow"},"value":[1,"1"]},{"metric":{},"value":[1,"0"]}"#);
        let found = labels(two.as_bytes()).unwrap();
        assert_eq!((found.len(), found[0]["alertname"].as_str()), (2, "Slow"));
        assert_eq!(labels(vector("").as_bytes()), Ok(Vec::new()));
        let partial = vector("").replace("}}", r#"},"warnings":["remote read: 1 of 2 failed"]}"#);
        assert!(matches!(labels(partial.as_bytes()), Err(NoData::Incomplete { .. })), "{partial}");
        for broken in ["", "{}", &vector(r#"{"value":[1,"1"]}"#), r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#]
        {
            assert!(labels(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn places_stay_inside_their_quotes() {
        let source = PrometheusSource::new("http://p:9090/prom/", r#"x{v="{version}"}"#, Duration::from_secs(2)).unwrap();
        let path = source.path(&[("version", "1\"} or vector(0) #\\")]);
        assert_eq!(path, "/prom/api/v1/query?query=x%7Bv%3D%221%5C%22%7D%20or%20vector%280%29%20%23%5C%5C%22%7D&timeout=2000ms");
    }
}
