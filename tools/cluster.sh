#!/usr/bin/env bash
# What `make up`, `make deploy-cpu` and their like do: cluster.sh COMMAND. Each looks first whether what it needs is there,
# and says what is missing. docs/kubernetes.md tells how they belong together.
# Variables: CLUSTER (minikube or kind), OVERLAY (cpu), TIMEOUT (600s), and those of tools/images.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

namespace=xview
mine=app.kubernetes.io/name=serinus
overlay=${OVERLAY:-cpu}
place=k8s/overlays/$overlay # what is applied
[ "$overlay" != base ] || place=k8s/base
tag=$(sed -nE 's/^ *newTag: (.*)$/\1/p' k8s/images/kustomization.yaml | head -n 1) # what the manifests ask for

say() { printf '%s\n' "$*" >&2; }
die() {
  say "serinus: $1"
  shift
  for line; do say "  $line"; done
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
need_kubectl() {
  have kubectl || die "kubectl is missing." "Install it (kubernetes.io/docs/tasks/tools), 1.27 or newer."
  local minor
  minor=$(kubectl version --client -o json 2>/dev/null | sed -nE 's/^ *"minor": "([0-9]+).*/\1/p' | head -n 1)
  [ "${minor:-27}" -ge 27 ] ||
    die "kubectl is 1.$minor: its Kustomize cannot read k8s/." "Install 1.27 or newer (kubernetes.io/docs/tasks/tools)."
}

tool() { # which of the two makes the local cluster
  case ${CLUSTER:-} in
    minikube | kind)
      have "$CLUSTER" || die "CLUSTER=$CLUSTER, but $CLUSTER is missing."
      echo "$CLUSTER"
      ;;
    "")
      if have minikube; then
        echo minikube
      elif have kind; then
        echo kind
      else
        die "Neither minikube nor kind is there." \
          "Install one (minikube.sigs.k8s.io or kind.sigs.k8s.io), or use a cluster that you have: make deploy-cpu."
      fi
      ;;
    *) die "CLUSTER=$CLUSTER is neither minikube nor kind." ;;
  esac
}

context() { kubectl config current-context 2>/dev/null || true; }

need_cluster() {
  need_kubectl
  [ -n "$(context)" ] || die "kubectl knows no cluster." "Make a local one: make up. Or choose one: kubectl config use-context NAME."
  kubectl get --raw=/readyz --request-timeout=15s >/dev/null 2>&1 ||
    die "The cluster $(context) does not answer." "Start it (make up), or choose another: kubectl config use-context NAME."
}

need_deployed() {
  need_cluster
  kubectl get deployment infer -n $namespace >/dev/null 2>&1 ||
    die "Serinus is not deployed in namespace $namespace of $(context)." "make deploy-cpu"
}

local_cluster() { # minikube, kind, or nothing
  case $(context) in
    minikube) echo minikube ;;
    kind-*) echo kind ;;
  esac
}

up() {
  need_kubectl
  local chosen
  chosen=$(tool)
  if [ "$chosen" = minikube ]; then
    minikube start
    kubectl config use-context minikube >/dev/null
  else
    kind get clusters 2>/dev/null | grep -qx serinus || kind create cluster --name serinus --wait 120s
    kubectl config use-context kind-serinus >/dev/null
  fi
  say "The cluster is there. Next: make addons, make deploy-cpu, make wait."
}

addons() {
  need_cluster
  case $(local_cluster) in
    minikube)
      minikube addons enable ingress
      minikube addons enable metrics-server
      ;;
    *)
      say "Only minikube has add-ons. What they would bring is optional:"
      say "  an ingress controller (ingress-nginx) for the Ingress, metrics-server for the autoscaler."
      say "docs/kubernetes.md tells what goes without them: port-forwards, and two replicas of infer."
      ;;
  esac
}

build() {
  need_kubectl
  tools/images.sh serve train
  case $(local_cluster) in
    minikube)
      have minikube || die "The cluster is minikube's, but minikube is missing."
      tools/images.sh save build/images serve train
      for each in serve train; do minikube image load "build/images/$each.tar"; done
      ;;
    kind)
      have kind || die "The cluster is kind's, but kind is missing."
      tools/images.sh save build/images serve train
      local name
      name=$(context)
      for each in serve train; do kind load image-archive "build/images/$each.tar" --name "${name#kind-}"; done
      ;;
    *)
      say "Push the images to a registry that the cluster can read, and name it in k8s/images/kustomization.yaml:"
      say "  make images PREFIX=registry.example.org/, docker push ..., make manifests"
      return
      ;;
  esac
  say "The images are in the cluster. Next: make deploy-cpu. Pods that run go on with the old ones:"
  say "  kubectl rollout restart deployment -n $namespace -l $mine"
}

images_there() {
  local names
  names=$(kubectl get nodes -o 'jsonpath={.items[*].status.images[*].names}')
  [[ $names == *"serinus-serve:$tag"* && $names == *"serinus-train:$tag"* ]]
}

make_access() { # the token that changes from beyond the pod need, and a file for more; made once, never shown
  if kubectl get secret access -n $namespace >/dev/null 2>&1; then return; fi
  head -c 32 /dev/urandom | base64 | tr -d '\n=' | tr '+/' '-_' |
    kubectl create secret generic access -n $namespace --from-file=API_TOKEN=/dev/stdin \
      --from-literal='tokens=# role name sha256 day'
}

deploy() {
  need_cluster
  [ -d "$place" ] || die "There is no $place."
  [ "${TAG:-$tag}" = "$tag" ] ||
    die "TAG=$TAG, but the manifests name $tag." "Set newTag in k8s/images/kustomization.yaml, then: make manifests."
  if [ -n "$(local_cluster)" ] && ! images_there; then
    say "The images of version $tag are not in the cluster yet."
    build
  fi
  kubectl apply -f k8s/base/namespace.yaml
  make_access
  local told failed=""
  told=$(kubectl apply -k "$place") || failed=1
  printf '%s\n' "$told"
  if grep -q 'configmap/app-config configured' <<<"$told"; then # processes read their settings at their start
    kubectl rollout restart deployment -n $namespace -l $mine
  fi
  [ -z "$failed" ] || die "Not all of it could be applied; kubectl said why." "Mend it, then again: make deploy-cpu."
  say "Next: make wait, make url."
}

undeploy() {
  need_cluster
  kubectl delete -n $namespace --ignore-not-found -l $mine \
    deployment,service,ingress,horizontalpodautoscaler,poddisruptionbudget,networkpolicy,role,rolebinding,serviceaccount,configmap
  say "Volumes (kubectl get pvc -n $namespace), Jobs and the Secret stay; make deploy-cpu goes on with them."
}

wait_ready() {
  need_deployed
  local each
  for each in infer ui controller; do
    kubectl rollout status "deployment/$each" -n $namespace --timeout="${TIMEOUT:-600s}" || {
      say "deployment/$each is not ready. What the cluster says:"
      kubectl get pods,pvc -n $namespace >&2 || true
      kubectl get events -n $namespace --field-selector type=Warning --sort-by=.lastTimestamp >&2 || true
      die "Not ready yet." \
        "ErrImageNeverPull, ImagePullBackOff: make build-cpu. A claim that stays Pending: the storage class (docs/kubernetes.md)." \
        "CrashLoopBackOff: kubectl logs deployment/$each -n $namespace --previous"
    }
  done
  say "Serinus is ready."
}

url() {
  need_deployed
  say "In two terminals:"
  echo "kubectl port-forward svc/ui 8080:80 -n $namespace        # http://localhost:8080"
  echo "kubectl port-forward svc/infer 9000:9000 -n $namespace   # http://localhost:9000"
  [ "$(local_cluster)" != minikube ] || echo "minikube service ui -n $namespace                  # opens the dashboard"
  local address
  address=$(kubectl get ingress ui -n $namespace -o 'jsonpath={.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}' 2>/dev/null || true)
  [ -z "$address" ] || echo "http://$(kubectl get ingress ui -n $namespace -o 'jsonpath={.spec.rules[0].host}')   # at $address"
  say "Changes that do not come through a port-forward need the token:"
  echo "kubectl get secret access -n $namespace -o jsonpath='{.data.API_TOKEN}' | base64 -d"
}

logs() {
  need_deployed
  local -a follow=()
  [ "${FOLLOW:-1}" = 0 ] || follow=(-f)
  # One pod that has no log yet, or whose node does not answer, is no reason to show nothing.
  kubectl logs -n $namespace -l $mine --all-containers --prefix --ignore-errors --tail=100 --max-log-requests=20 "${follow[@]}"
}

scale() {
  [[ ${n:-} =~ ^[1-9][0-9]*$ ]] || die "How many? make scale-infer n=3"
  need_deployed
  local most
  most=$(kubectl get hpa infer -n $namespace -o 'jsonpath={.spec.maxReplicas}' 2>/dev/null || true)
  if [ -n "$most" ]; then # else it would scale back
    [ "$most" -ge "$n" ] || most=$n
    kubectl patch hpa infer -n $namespace --type merge -p "{\"spec\":{\"minReplicas\":$n,\"maxReplicas\":$most}}"
  fi
  kubectl scale deployment/infer -n $namespace --replicas="$n"
}

job_train() {
  need_deployed
  # From within the pod, as the dashboard does it: through the queue, with a record. From there no token is needed.
  kubectl exec -i deployment/ui -n $namespace -- python - "${EPOCHS:-}" "${BATCH:-}" <tools/ask_training.py
  say "kubectl logs -f job/train -n $namespace"
}

nuke() {
  need_cluster
  say "This deletes namespace $namespace of $(context) with all models, data sets and outputs on its volumes."
  if [ "${YES:-}" != 1 ]; then
    [ -t 0 ] || die "Nothing was deleted." "make nuke YES=1"
    local answer
    read -r -p "Type the namespace to go on: " answer
    [ "$answer" = $namespace ] || die "Nothing was deleted."
  fi
  kubectl delete namespace $namespace --ignore-not-found
  if [ "${CLUSTER:-}" = minikube ]; then
    minikube delete
  elif [ "${CLUSTER:-}" = kind ]; then
    kind delete cluster --name serinus
  elif [ -n "$(local_cluster)" ]; then
    say "The cluster stays; make nuke CLUSTER=$(local_cluster) takes it away, too."
  fi
}

case ${1:-} in
  up | addons | build | deploy | undeploy | url | logs | scale | nuke) "$1" ;;
  wait) wait_ready ;;
  job-train) job_train ;;
  *) die "There is no command '${1:-}'." ;;
esac
