//! Starts the new set's instances and looks at each directly; one that lost its port before it listened is started anew on another.

use super::{
    run::Run,
    steps::{GRACE, StepFailure},
};
use crate::{error::Code, model::InstanceId};
use serde_json::{Value, json};
use std::ops::RangeInclusive;

/// How often one instance is given another port: whoever loses that many to others is told so.
const OTHER_PORTS: u32 = 3;

impl Run {
    /// Starts the new set's `index`-th instance.
    pub async fn start(&self, index: u32) -> Result<Value, StepFailure> {
        let release_dir = self.engine.release_dir(&self.plan.digest).await?;
        let observed = self.target.start(&self.lease, &self.instance_spec(index, release_dir)).await?;
        // The look at it that follows gives it another port.
        if !observed.running && !observed.port_taken {
            let how = observed.last_exit.unwrap_or_else(|| "at once".into());
            return Err(StepFailure::new(Code::InstanceExited, format!("instance `{}` ended: {how}", observed.instance)));
        }
        let mut output = json!({ "instance": observed.instance, "address": observed.address, "argv": observed.argv, "pid": observed.pid });
        if let Some(run) = observed.run {
            output["run"] = json!(run);
        }
        Ok(output)
    }

    /// Verifies the new set's instances of these numbers, counted from 1.
    pub async fn verify_instances(&self, numbers: RangeInclusive<u32>) -> Result<Value, StepFailure> {
        let mut reports = Vec::new();
        for index in numbers {
            reports.push(self.verify_new(index).await?);
        }
        Ok(json!({ "instances": reports }))
    }

    async fn verify_new(&self, index: u32) -> Result<Value, StepFailure> {
        let instance = InstanceId::of(&self.plan.environment, &self.plan.service, &self.id, index);
        let mut lost = 0;
        loop {
            match self.verify_running(&instance).await {
                // Between the choice of a free port and its use lies the start of a program: anybody may be quicker.
                Err(failure) if failure.code == Code::InstanceExited && lost < OTHER_PORTS && self.has_lost_port(&instance).await? => {
                    lost += 1;
                    // Its shim tries the same port again and again, so that it may seem to run just now.
                    self.target.stop(&self.lease, &instance, GRACE).await?;
                    self.start(index).await?;
                }
                verdict if lost == 0 => return verdict,
                verdict => {
                    return verdict.map(|mut report| {
                        report["ports_lost"] = json!(lost);
                        report
                    });
                }
            }
        }
    }

    async fn verify_running(&self, instance: &InstanceId) -> Result<Value, StepFailure> {
        let observed = self.running(std::slice::from_ref(instance)).await?.remove(0);
        self.verify_instance(&observed, &self.plan.version, &self.spec).await
    }

    async fn has_lost_port(&self, instance: &InstanceId) -> Result<bool, StepFailure> {
        Ok(self.target.observe(instance).await?.is_some_and(|observed| observed.port_taken))
    }
}
