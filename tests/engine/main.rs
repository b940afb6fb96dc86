//! The engine in this process, on both databases, over a world in memory: from directive to runbook, with people who sign, with a
//! fault at every call, and what only reads changes nothing.

#[path = "../support/mod.rs"]
mod support;

mod about;
mod agents;
mod alerts;
mod backups;
mod by_workflow;
mod changes;
mod ci;
mod citations;
mod clocks;
mod close_watch;
mod concluding;
mod control;
mod data;
mod data_commands;
mod database;
mod documents;
mod dossiers;
mod environment_setup;
mod faults;
mod figures;
mod follow_ups;
mod forge;
mod freezes;
mod further_back;
mod going_back;
mod guards;
mod logs;
mod metrics;
mod monitoring;
mod notify;
mod operations;
mod outdated;
mod pages;
mod passkeys;
mod phases;
mod quiet_hours;
mod quorum;
mod quota;
mod reads;
mod reconciling;
mod rehearsing;
mod reopened;
mod reports;
mod scraping;
mod statements;
mod story;
mod strategies;
mod taken_up;
mod twice;
mod ventures;
mod watching;
mod world;
