"""The rules of pools that the API server can check, in CEL."""

from infpop_operator.api.cel_rule import LABEL_KEYS, Rule, above_zero, unique
from infpop_operator.api.spec_pool import LEAST_MEMORY, MOST_MEMORY

POOL_RULES = (
    unique("unique-pool-names", "spec.nodePools", key=".name"),
    above_zero("price", "spec.nodePools[].pricePerGPUHour"),
    Rule(
        name="simple-gpu-product",
        path="spec.nodePools[].gpuProduct",
        rule="!self.matches('[)][*+?{]') && self.findAll('[*+?{]').size() <= 4",
        message='is too complex. Write for example "A100" or "A100.*80GB": '
        "at most 4 of * + ? {, and none after a group",
    ),
    Rule(
        name="label-keys",
        path="spec.nodePools[].nodeSelector",
        rule=LABEL_KEYS,
        message="has a key that is not a label key. Use the key of a node's label, for example nvidia.com/gpu.product",
    ),
    Rule(
        name="equal-needs-key",
        path="spec.nodePools[].tolerations[]",
        rule="self.operator != 'Equal' || has(self.key)",
        message="is required with the operator Equal. Add the taint's key, or use operator: Exists",
        field="key",
    ),
    Rule(
        name="exists-has-no-value",
        path="spec.nodePools[].tolerations[]",
        rule="self.operator != 'Exists' || !has(self.value) || self.value == ''",
        message="is not allowed with the operator Exists. Remove it, or use operator: Equal",
        field="value",
    ),
    Rule(
        name="seconds-need-no-execute",
        path="spec.nodePools[].tolerations[]",
        rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        message="applies only to the effect NoExecute. Remove it, or set effect: NoExecute",
        field="tolerationSeconds",
    ),
    Rule(
        name="cpus-beside-gpus",
        path="spec.nodePools[]",
        rule="self.gpuResource != 'cpu' || !has(self.resources) || !has(self.resources.cpu)",
        message="is not allowed with gpuResource cpu, where a run requests one CPU for each rank. Remove it",
        field="resources.cpu",
    ),
    Rule(
        name="scale-from-zero-is-for-gpus",
        path="spec.nodePools[]",
        rule="self.gpuResource != 'cpu' || !has(self.scaleFromZero)",
        message="is not supported with gpuResource cpu: it is for nodes with GPUs. Remove it",
        field="scaleFromZero",
    ),
    Rule(
        name="nodes-fit-a-run",
        path="spec",
        rule="self.nodePools.size() == 0 || self.nodePools.exists(pool, !has(pool.scaleFromZero) || "
        "self.searchSpace.gpuCount.exists(count, count <= pool.scaleFromZero.gpusPerNode))",
        message="is above scaleFromZero.gpusPerNode of every pool. Add a smaller GPU count, or correct gpusPerNode",
        field="searchSpace.gpuCount",
    ),
    Rule(
        name="cpus-above-zero",
        path="spec.nodePools[].resources.cpu",
        rule="type(self) == int || self.matches('[1-9]')",
        message="must be above 0. Use for example 8, or remove it",
    ),
    Rule(
        name="memory-of-a-run",
        path="spec.nodePools[].resources.memory",
        rule=f"quantity(self).compareTo(quantity('{LEAST_MEMORY}')) >= 0 "
        f"&& quantity(self).compareTo(quantity('{MOST_MEMORY}')) <= 0",
        message=f'must be from {LEAST_MEMORY} to {MOST_MEMORY}. Write it with its unit, for example "64Gi"',
    ),
)
