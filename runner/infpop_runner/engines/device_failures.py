"""The rows about GPUs: how many, whether they are there and fit the image, and their memory."""

from infpop_runner.engines.failure_rule import broken, infeasible

# Parts of the patterns.
_RANKS = (
    r"(?:\btp\b|\w*(?:tp|ep|world)_size|tensor.?(?:model.?)?parallel(?:ism)?|expert.parallel|world.size|tp[ =]\d"
    r"|model parallel GPUs|number of (?:GPUs|ranks))"
)
_TENSOR = r"(?:\btp\b|tp_size|tensor.?(?:model.?)?parallel(?:ism)?)"
_UNEVEN = (
    r"(?:divisible|divides?\b|evenly|multiple of|not aligned|(?:greater|larger|more) than .{0,40}(?:experts|heads))"
)
_BEYOND = r"(?:larger|greater|less|more|exceeds?|out of (?:range|bounds))"
GPU_COUNT = (
    infeasible("HeadsNotDivisible", r"attention heads .{0,40}must be divisible by tensor parallel size"),
    infeasible(
        "UnsupportedGpuCount",
        r"(?:^|\.)AssertionError: \d+ is not divisible by \d+\.?$",  # vLLM's and Megatron's `divide`
        # A bare assertion: the line that it stands in.
        rf"AssertionError: assert .*%\s*(?:\w+\.)*{_RANKS}.*== ?0",
        rf"AssertionError: assert .*{_RANKS}\s*%.*== ?0",
        rf"{_UNEVEN}.{{0,160}}{_RANKS}",
        rf"{_RANKS}.{{0,160}}{_UNEVEN}",
        rf"{_TENSOR}.{{0,60}}(?:is |are )?(?:not (?:yet |currently )?supported|needs? to be 1|must be 1\b)",
        rf"(?:not (?:yet |currently )?support|needs?|requires?|only supports?) {_TENSOR}(?! rank)",
        r"\b(?:in|out)put[_ ]size.{0,80}not (?:divisible|aligned)",
        r"(?:size_|_size_|size )per[_ -](?:partition|rank|tensor-parallel partition).{0,160}(?:divisible|multiple)",
        r"per-rank .{0,80}divisible",
        r"(?:divisible|multiple).{0,60}(?:per partition|per rank|weight quantization block|min_thread_[nk])",
        r"not divisible by weight quantization block_",
        r"size_[kn] must (?:be )?divisible by",
        r"(?:in|out)_features = \d+ is (?:not |in)divisible",
        r"(?:in|out)put features.{0,40}must be divisible",
        r"experts\S* must be divisible by .{0,40}(?:size|ranks|GPUs)",
        r"evenly divisible across \w+ ranks|evenly divide .{0,120}per partition",
        rf"(?:less|fewer|smaller) than {_RANKS}|{_RANKS} must be <=",
        rf"context.parallel.size.{{0,80}}exceeds the maximum .{{0,80}}{_RANKS}",
        r"prob_[mnk] = \d+ is not divisible by",  # Marlin's kernels: the part of a rank
        r"Duplicate GPU detected",  # NCCL: two ranks on one device, as with MIG
    ),
)

# On a CPU pool the machine's memory is the device's memory.
_HOST_MEMORY = (
    r"\bDefaultCPUAllocator",
    r"(?:^|[.\s])(?:_Array)?MemoryError\b",
    r"Cannot allocate memory",
    r"std::bad_alloc",
    r"\[Errno 12\]",
    r"Available memory on node .{0,120}is less than (?:desired|requested)",
)
MEMORY = (
    infeasible(
        "GpuOutOfMemory",
        r"\bOutOfMemoryError\b",
        r"\b(?:CUDA|HIP|XPU|NCCL) out of memory",
        r"\b(?:CUDA|HIP|XPU)(?: driver| runtime)? error:? (?:2[,:]? )?(?:\(?\d*\)? ?)?out of memory",
        r"CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory",
        r"Triton Error \[\w+\]: out of memory",
        r"(?:Cuda|CUDA|HIP) (?:failure 2\b|(?:failure|error \S+:\d+) '?out of memory)",  # NCCL, vLLM's all-reduce
        r"Failed to CUDA (?:calloc|malloc)",
        r"CU(?:BLAS|DNN|SOLVER|SPARSE)_STATUS_ALLOC_FAILED",
        r"CUBLAS_STATUS_NOT_INITIALIZED when calling .?cublasCreate",  # its workspace does not fit
        r"NVML_SUCCESS == r INTERNAL ASSERT FAILED",  # torch asks NVML only to explain a lack of memory
        r"No available memory for the cache blocks",
        r"max seq len .{0,20}is larger than the maximum number of tokens that can be stored in KV cache",
        r"KV cache is needed, which is larger than the available KV cache memory",
        r"To serve at least one request with the models?.?s max seq len",
        r"exceeds available Mamba cache blocks",
        r"not enough (?:GPU|device|KV cache|CUDA) memory|insufficient (?:GPU|device|CUDA) memory",
        r"only .{0,20}is available for the KV cache",
        r"(?:modules|weights|layers) (?:are|is|were|had been)? ?(?:dispatched|offloaded) (?:on|to) the (?:CPU|disk)",
        r"have enough GPU RAM",
        r"device_map that contains a (?:CPU|disk)",
        r"offload the whole model to the disk|perform (?:CPU|disk) offload",
        r"(?:not support|remove) (?:the )?(?:CPU|disk)\b.{0,30}(?:offload|device_map)",
        r"(?:CPU|disk) offload(?:ing)? is not supported|configured to be mapped to (?:CPU|disk)",
        r"device_map. had weights offloaded to the disk",
        r"modules offloaded to cpu or disk",
    ),
)

WORKSPACE = (
    infeasible(
        "GpuOutOfMemory",
        r"(?:Buffer overflow when allocating|Failed to allocate) memory for \w+ with size \d+",  # FlashInfer
        remedy="The attention backend's workspace is too small for this batch: use another one in engine.args",
    ),
)

# Before the rules on memory: a kernel that lacks shared memory, and a driver that cannot count its devices.
KERNEL_RESOURCES = (
    infeasible(
        "IncompatibleGPU",
        r"out of resource: shared memory",
        r"OutOfResources: out of resource",
        r"triton\S*: .{0,80}Hardware limit: ?\d+",
        remedy="A kernel of this image needs more shared memory than this GPU has: use another image or GPU, or "
        "another attention backend or data type in engine.args",
    ),
)
_DRIVER = "The GPU's driver does not fit the image: update the driver of the node, or use an image for an older CUDA"
DEVICES = (
    broken(
        "GpuFaulty",
        r"uncorrectable (?:ECC|NVLink)|cudaErrorECCUncorrectable|cudaErrorNvlinkUncorrectable",
        r"fallen off the bus|GPU is lost|GPU requires reset",
        r"hardware stack error|cudaErrorHardwareStackError",
        r"\bXid\b.{0,40}\d+",
        r"contained (?:memory )?error|cudaErrorContained|over nvlink or a hardware error",
    ),
    infeasible(
        "IncompatibleGPU",
        r"Torch not compiled with CUDA enabled",
        remedy="The image's torch was built without CUDA: use an image for GPUs",
    ),
    infeasible(
        "IncompatibleGPU",
        r"Failed to infer device type",
        device="cpu",
        remedy="The image is not built for CPUs: use one that is",
    ),
    infeasible(
        "IncompatibleGPU",
        r"(?:needs|requires) a (?:CUDA )?GPU\b|only supported on GPUs?\b|\bGPU is required|No GPU (?:or \w+ )?found",
        r"not (?:available|supported) (?:on|in) CPUs?\b",
        device="cpu",
        remedy="The model or an argument needs a GPU: use a pool with GPUs, or another model",
    ),
    broken(
        "GpuMissing",
        r"system has unsupported display driver",
        r"forward compatibility was attempted",
        r"NVIDIA driver on your system is too old",
        r"CUDA driver version is insufficient",
        r"unsatisfied condition: ?(?:cuda|driver|brand|arch)",
        r"Driver/library version mismatch",
        r"cudaErrorInsufficientDriver|cudaErrorSystemDriverMismatch|cudaErrorCompatNotSupportedOnDevice",
        r"Error 80[34]\b",
        remedy=_DRIVER,
    ),
    broken(
        "GpuMissing",
        r"system not yet initialized|cudaErrorSystemNotReady|Error 802\b",
        remedy="The node's GPUs are not ready: check that nvidia-fabricmanager runs on it",
    ),
    broken(
        "GpuMissing",
        r"Unexpected error from cudaGetDeviceCount",
        r"device < num_gpus",  # torch: a rank beyond the devices, as with MIG
        r"MPS (?:client|server) |cudaErrorMps\w+",
        r"(?:(?:needs|requires) a (?:CUDA )?GPU|only supported on GPUs?)\b(?! (?:with|of|that))|\bGPU is required",
        r"No CUDA GPUs are available",
        r"no CUDA-capable device is detected|cudaErrorNoDevice|CUDA_ERROR_(?:NO|INVALID)_DEVICE",
        r"Found no NVIDIA driver",
        r"Failed to infer device type",
        r"CUDA unknown error",
        r"CUDA error: initialization error",
        r"CUDA error: invalid device ordinal",
        r"Failed to initialize NVML|NVML Shared Library Not Found|NVMLError_\w+|can.t initialize NVML",
        r"lib(?:cuda|nvidia-ml)\.so\S* ?: cannot open shared object",
        r"nvidia-container-cli: .{0,40}(?:initialization|device|driver|detection|ldcache|requirement) error",
        r"could not select device driver",
        r"No (?:GPUs?|accelerators?|CUDA devices?)(?: or \w+)? (?:were |was |is |are )?(?:found|available|detected)",
        device="cuda",
    ),
    broken(
        "GpuMissing",
        rf"(?:world.?size|local.?rank|device-ids index|replica size).{{0,60}}{_BEYOND}.{{0,80}}"
        r"(?:GPUs?\b|devices|gpu count|gpu_ids)",
        rf"(?:tensor.?parallel|tp).?size.{{0,60}}{_BEYOND} .{{0,60}}(?:available|visible|local) (?:GPUs?|devices)",
        r"number of required \w+ exceeds the total number of available",
        r"(?:don.t|do not) have enough GPUs available",
        device="cuda",
    ),
)

CAPABILITY = (
    infeasible(
        "RejectedArguments",
        r"(?:compute capability|SM\d+|your GPU|on this device).{0,240}"
        r"(?:Re-run with|Please do not specify|Use|set|remove) .?--[a-z]",
        r"requires? the SM\d+ .{0,60}path",
        r"Error: \w+='[^']*' requires",
        remedy="This GPU does not offer what engine.args or searchSpace.extra asks for",
    ),
    infeasible(
        "IncompatibleGPU",
        r"no kernel image is available",
        r"device kernel image is invalid|cudaErrorInvalidKernelImage",
        r"PTX was compiled with an unsupported toolchain|cudaErrorUnsupportedPtxVersion|unsupported PTX",
        r"(?:not |un)supported (?:for|on|by|in) (?:the |this |your )?(?:current )?"
        r"(?:GPU|CUDA device|hardware)",
        r"Min(?:imum)?\.? capability: ?\d+",
        r"(?:requires?|supported|needs?|available|works?|at least|supports?|for).{0,60}"
        r"(?:compute|device|CUDA|GPU) capability",
        r"(?:compute|device|CUDA|GPU) capability.{0,20}(?:>=?|at least|\d\.\d (?:or|and) |\d+ (?:or|and) |<)",
        r"(?:requires?|supports?|supported (?:on|by)|available on|needs?) .{0,30}"
        r"(?:Turing|Ampere|Ada|Hopper|Blackwell|SM_?\d+)\b",
        r"(?:Turing|Ampere|Ada|Hopper|Blackwell) (?:GPUs? )?or (?:newer|later|higher|above)",
        r"(?:not |un)supported (?:on|by|for) (?:Volta|Turing|Ampere|Ada|Hopper|Blackwell|SM_?\d+)\b",
        r"sm_\d+\w? is not (?:compatible|defined|supported)|.sm_\d+\w?. is not defined|requires .{0,30}sm_\d+",
        r"unsupported gpu architecture|unknown CUDA arch|(?:un|No )supported CUDA arch",
        r"No compiled \w+ for .{0,30}capability",
        r"fp8e4nv not supported|type fp8\w+ not supported in this arch",
        r"(?:Bfloat16|bf16) is (?:only |not )?supported (?:on|by|for) .{0,40}(?:GPU|device|card)",
        r"not compatible with the current PyTorch installation",
        r"invalid device function|cudaErrorInvalidDeviceFunction",
        r"only supported (?:in|by|with) FlashAttention ?\d",  # a version for newer GPUs
        r"(?:not (?:supported|available)|not support .{0,60}) on this device",
        r"requires NV(?:LS|Link) .{0,20}multicast",
    ),
)

HOST = (
    infeasible("GpuOutOfMemory", *_HOST_MEMORY, device="cpu"),
    broken(
        "GpuNotClean",
        r"Error in memory profiling\. ",
        r"Free memory on device .{0,120}is less than (?:desired GPU memory utilization|the engine's budget)",
        r"CUDA-capable device\(s\) is/are busy or unavailable",
        r"all CUDA-capable devices are busy",
    ),
    broken("HostOutOfMemory", *_HOST_MEMORY, device="cuda"),
)

DEVICE_FAILURES = (*KERNEL_RESOURCES, *DEVICES, *MEMORY, *WORKSPACE, *GPU_COUNT, *CAPABILITY, *HOST)
