#!/usr/bin/env bash
# Prepares a node, head or worker, each time it starts: token, shared folder, Python 3.11, the locked packages, dmlray.
#
#     setup_node.sh NFS_SOURCE        for example fs-0123456789abcdef0.efs.us-east-1.amazonaws.com:/
#     setup_node.sh -                 /mnt/dmlray is already shared between the nodes
#
# Ubuntu with sudo, or any Linux with nfs-common installed. It can be run again at any time.
set -euo pipefail
source_of_nfs=$1
project=$HOME/dmlray
venv=$HOME/.dmlray-venv
own_disk=/opt/dlami/nvme # where AWS's Deep Learning images mount the NVMe disk of a machine that has one

if [ ! -s "$HOME/.ray/auth_token" ]; then
    echo "no token in ~/.ray/auth_token: run 'ray get-auth-token --generate' where you call 'ray up'" >&2
    exit 1
fi
chmod 700 "$HOME/.ray"
chmod 600 "$HOME/.ray/auth_token"

if [ "$source_of_nfs" != - ] && ! mountpoint -q /mnt/dmlray; then
    command -v mount.nfs4 >/dev/null || { sudo apt-get update -qq && sudo apt-get install -qq -y nfs-common; }
    sudo mkdir -p /mnt/dmlray
    sudo mount -t nfs4 -o nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport \
        "$source_of_nfs" /mnt/dmlray
    [ -w /mnt/dmlray ] || sudo chown "$(id -u):$(id -g)" /mnt/dmlray
fi
mkdir -p /mnt/dmlray/data /mnt/dmlray/results

wanted=$(cat "$project/cluster/requirements.txt" "$project/cluster/dashboard.txt" "$project/pyproject.toml" | sha256sum)
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$wanted" ]; then
    python3 -m pip install --quiet --user 'uv>=0.8,<1'
    uv=$(python3 -c 'import sysconfig; print(sysconfig.get_path("scripts", "posix_user"))')/uv
    "$uv" venv --quiet --clear --python 3.11 "$venv"
    "$uv" pip install --quiet --python "$venv" -r "$project/cluster/requirements.txt" -r "$project/cluster/dashboard.txt"
    "$uv" pip install --quiet --python "$venv" --no-deps -e "$project"
    echo "$wanted" >"$venv/.installed"
fi

cat >"$HOME/.dmlray-env" <<EOF
export PATH="$venv/bin:\$PATH"
export RAY_AUTH_MODE=token
export RAY_worker_maximum_startup_concurrency=16
export RAY_process_group_cleanup_enabled=1
export DMLRAY_RESULTS=/mnt/dmlray/results
EOF
if mountpoint -q "$own_disk"; then # it goes with the machine, as a cache may
    sudo install -d -o "$(id -un)" "$own_disk/dmlray"
    echo "export DMLRAY_CACHE=$own_disk/dmlray" >>"$HOME/.dmlray-env"
fi
grep -q dmlray-env "$HOME/.bashrc" 2>/dev/null || echo '. "$HOME/.dmlray-env"' >>"$HOME/.bashrc"
