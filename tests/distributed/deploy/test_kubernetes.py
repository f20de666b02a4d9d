"""The example manifests: against the models of Kubernetes' client, and runs as Jobs. No test has a cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import dagster as dg
import pytest
import yaml
from dagster._config import process_config

from pipeline.definitions import defs
from pipeline.orchestration.command_line_runs import TAGS, give_runs_an_origin
from pipeline.orchestration.kubernetes_launcher import KubernetesLauncher
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import Simulator
from tests.support.dagster_runs import origin_of_daemon
from tests.support.fleet import DAEMON, DEPLOY, Fleet, looking_often, new_history
from tests.support.kubernetes_api import Cluster, checked
from tests.support.processes import wait_until

MANIFESTS = DEPLOY / "kubernetes"
CONFIGURATION = MANIFESTS / "dagster.yaml"
IMAGE = "registry.example.com/phygitals-pipeline:1.0.0"
MODELS = {
    "ConfigMap": "V1ConfigMap",
    "Deployment": "V1Deployment",
    "Namespace": "V1Namespace",
    "Role": "V1Role",
    "RoleBinding": "V1RoleBinding",
    "Service": "V1Service",
    "ServiceAccount": "V1ServiceAccount",
}


@pytest.fixture(scope="module")
def manifests():
    """What kustomize makes of the folder, by kind and name."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, whose kustomize puts the manifests together")
    shown = subprocess.run(["kubectl", "kustomize", str(MANIFESTS)], capture_output=True, text=True, check=True)
    found = [manifest for manifest in yaml.safe_load_all(shown.stdout) if manifest]
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}


def launcher() -> dict:
    configured: dict = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))["run_launcher"]["config"]
    return configured


def pods(manifests) -> list[dict]:
    return [manifest["spec"]["template"]["spec"] for (kind, _), manifest in manifests.items() if kind == "Deployment"]


def test_every_manifest_has_the_fields_of_its_kind(manifests):
    assert {kind for kind, _ in manifests} == set(MODELS)
    for (kind, name), manifest in manifests.items():
        checked(manifest, MODELS[kind])
        assert kind == "Namespace" or manifest["metadata"]["namespace"] == "phygitals", name


def test_a_field_that_the_kind_does_not_have_is_found():
    with pytest.raises(Exception, match="replica"):
        checked({"kind": "Deployment", "spec": {"replica": 1}}, "V1Deployment")


def test_dagster_k8s_accepts_the_configuration_of_the_launcher(monkeypatch):
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", IMAGE)
    processed = process_config(KubernetesLauncher.config_type(), launcher())
    assert processed.success, processed.errors
    assert not process_config(KubernetesLauncher.config_type(), {**launcher(), "service_acount_name": "x"}).success


def test_the_launcher_names_what_the_manifests_make(manifests):
    configured = launcher()
    assert ("Namespace", configured["job_namespace"]) in manifests
    assert ("ServiceAccount", configured["service_account_name"]) in manifests
    config_map = manifests["ConfigMap", configured["instance_config_map"]]
    assert config_map["data"]["dagster.yaml"] == CONFIGURATION.read_text()
    for pod in pods(manifests):
        (container,) = pod["containers"]
        (mount,) = container["volumeMounts"]
        assert mount["mountPath"] == f"{configured['dagster_home']}/dagster.yaml"
        assert pod["volumes"][0]["configMap"]["name"] == configured["instance_config_map"]
        assert [source["secretRef"]["name"] for source in container["envFrom"]] == configured["env_secrets"]
        assert {"name": "DAGSTER_CURRENT_IMAGE", "value": container["image"]} in container["env"]
        assert container["image"] == IMAGE


def test_no_pod_has_more_rights_than_it_needs(manifests):
    for pod in pods(manifests):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    assert all("*" not in rule["verbs"] for rule in manifests["Role", "phygitals"]["rules"])
    assert not any(kind == "Secret" for kind, _ in manifests)


def test_the_image_has_the_folders_and_the_user_of_the_manifests(manifests):
    image = (PROJECT_ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"ENV DAGSTER_HOME={launcher()['dagster_home']}" in image
    (user,) = re.findall(r"^USER (\d+)$", image, re.MULTILINE)
    assert {pod["securityContext"]["runAsUser"] for pod in pods(manifests)} == {int(user)}


def test_a_run_of_the_command_line_which_has_no_job_is_not_taken_for_dead(database, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", new_history(database))
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", IMAGE)
    kubeconfig = tmp_path / "kubeconfig"
    configuration = looking_often(
        CONFIGURATION, tmp_path / "dagster.yaml", load_incluster_config=False, kubeconfig_file=str(kubeconfig)
    )
    Fleet(tmp_path / "machines", configuration, database, monkeypatch).use("office")
    with Cluster({}, {}).serving(kubeconfig), dg.DagsterInstance.get() as instance:
        job = defs.resolve_job_def("refresh")
        of_daemon = instance.create_run_for_job(job, remote_job_origin=origin_of_daemon(job.name))
        give_runs_an_origin(instance, job.name)
        own = instance.create_run_for_job(job, tags=TAGS)
        assert isinstance(instance.run_launcher, KubernetesLauncher)
        found = [instance.run_launcher.check_run_worker_health(run) for run in (own, of_daemon)]
    assert [health.status.value for health in found] == ["RUNNING", "UNKNOWN"]


@pytest.mark.timeout(600)
def test_a_run_is_a_job_that_has_its_settings_from_the_secret(
    api, database, lake_url, configure, tmp_path, monkeypatch
):
    api(Simulator(delay_scale=0, hold=0))
    configure(lake_url=lake_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", new_history(database))
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", IMAGE)
    kubeconfig = tmp_path / "kubeconfig"
    configuration = looking_often(
        CONFIGURATION, tmp_path / "dagster.yaml", load_incluster_config=False, kubeconfig_file=str(kubeconfig)
    )
    fleet = Fleet(tmp_path / "machines", configuration, database, monkeypatch)
    fleet.submit(*(f"s{number}" for number in range(50)))
    pod = {"DAGSTER_HOME": str(fleet.use("pod")), "PHYGITALS_DATA_DIR": os.environ["PHYGITALS_DATA_DIR"]}
    secret = {name: value for name, value in os.environ.items() if re.match("PHYGITALS_|AWS_|DAGSTER_POSTGRES", name)}
    cluster = Cluster({"phygitals": secret}, pod)
    with cluster.serving(kubeconfig), fleet.running(DAEMON, "daemon"):
        wait_until(lambda: any(run.is_success for run in fleet.runs()), "a run has succeeded", 240)
    (run,), (job,) = fleet.runs(), cluster.jobs
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert (container["image"], job["metadata"]["namespace"]) == (IMAGE, "phygitals")
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "phygitals"
    assert container["resources"]["limits"]["memory"]
    assert not any(value in str(job) for name, value in secret.items() if re.search("KEY|SECRET|POSTGRES", name))
    assert run.tags["data_directory"] == pod["PHYGITALS_DATA_DIR"]
    assert fleet.published("SELECT count(*) FROM purchases WHERE status <> 'pending'") == [(50,)]
