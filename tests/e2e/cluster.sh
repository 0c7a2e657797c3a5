#!/usr/bin/env bash
# The whole way on a real cluster, for anyone with kind or minikube: deploy, train as a Job, canary, promote, roll back, delete.
#   tests/e2e/cluster.sh            on a cluster that `make up` makes or that kubectl points to
# Variables: CLUSTER (minikube or kind), PYTHON (an interpreter with Serinus installed), KEEP=1 (deploy stays at the end).
# It deletes the namespace xview of that cluster at the end, with all in it. Eight to fifteen minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."

namespace=xview
python=${PYTHON:-.venv/bin/python}
ui=http://localhost:8080
infer=http://localhost:9000
forwards=()

say() { printf '\n== %s\n' "$*"; }
die() {
  printf 'FAILED: %s\n' "$*" >&2
  kubectl get pods,jobs,pvc -n $namespace >&2 || true
  exit 1
}
finish() { for pid in "${forwards[@]}"; do kill "$pid" 2>/dev/null || true; done; }
trap finish EXIT

forward() { # service ports
  # A pod that goes takes its port-forward along: again, until the end.
  (
    child=
    trap 'kill $child 2>/dev/null; exit' TERM
    for _ in $(seq 200); do
      kubectl port-forward "svc/$1" "$2" -n $namespace >/dev/null 2>&1 &
      child=$!
      wait $child || true
      sleep 1
    done
  ) &
  forwards+=($!)
}
field() { "$python" -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1]))' "$1"; }
mode() { curl -fsS $infer/model-status | field deployment_mode; }
current() { curl -fsS $infer/model-status | "$python" -c 'import json, sys; print(json.load(sys.stdin)["current_version"]["version"])'; }
eventually() { # seconds words command...
  local until=$((SECONDS + $1)) words=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt "$until" ] || die "$words: not after so long"
    sleep 2
  done
  echo "ok: $words"
}
answers() { curl -fsS -o /dev/null "$1/healthz"; }
is_mode() { [ "$(mode)" = "$1" ]; }

for each in kubectl curl; do command -v $each >/dev/null || die "$each is missing"; done
"$python" -c 'import serinus, httpx' || die "PYTHON=$python has no Serinus (make lint makes .venv)"

say "A cluster"
if ! kubectl get --raw=/readyz >/dev/null 2>&1; then make up; fi
make addons

say "Deploy"
make deploy-cpu
make wait
forward ui 8080:80
forward infer 9000:9000
eventually 60 "the dashboard answers" answers $ui
eventually 60 "inference answers" answers $infer
kubectl exec deployment/infer -n $namespace -- ls -la /models/
kubectl exec deployment/infer -n $namespace -- cat /models/current/version.json

say "Train as a Job, canary, promote: the documented test"
"$python" test_canary_deployment.py --ui-url $ui --infer-url $infer
[ "$(kubectl get job train -n $namespace -o 'jsonpath={.status.succeeded}')" = 1 ] || die "Job train did not succeed"
kubectl get job train -n $namespace -o 'jsonpath={.metadata.labels}'
echo

say "More replicas join with the promoted version"
make scale-infer n=3
kubectl rollout status deployment/infer -n $namespace --timeout=300s

say "Train again, and roll back"
before=$(current)
make job-train EPOCHS=2 BATCH=4
eventually 900 "the canary is there" is_mode canary
kubectl exec deployment/infer -n $namespace -- ls -la /models/canary/
kubectl exec deployment/infer -n $namespace -- cat /models/canary/version.json
curl -fsS -X POST $ui/api/rollout/rollback -H 'Content-Type: application/json' -d '{"reason": "end-to-end test"}' >/dev/null
eventually 60 "the rollout is over" is_mode production
after=$(current)
[ "$before" = "$after" ] || die "version $after serves instead of $before"

say "Delete; volumes stay until the namespace goes"
make undeploy
kubectl get pvc models-pvc -n $namespace
[ "${KEEP:-}" = 1 ] || make nuke YES=1 CLUSTER=
say "All of it held."
