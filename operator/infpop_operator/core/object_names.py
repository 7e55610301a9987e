"""The grammars of what a study names in a cluster: objects, keys, labels and images.

They are those of the API server (`k8s.io/apimachinery/pkg/util/validation`) and of the kubelet
(`github.com/distribution/reference`). A name that is refused there would otherwise fail only when the first Pod needs
it. The patterns have no look-around, and those of labels no backslash, so that Go, CEL, Rust and Python read them
alike.
"""

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}([.]{_LABEL})*"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"  # of at most 63 characters

NAME_PATTERN = rf"^{_LABEL}$"  # DNS-1123 label
OBJECT_PATTERN = rf"^{_SUBDOMAIN}$"  # DNS-1123 subdomain
LABEL_KEY_PATTERN = rf"^({_SUBDOMAIN}/)?{_QUALIFIED}$"
LABEL_VALUE_PATTERN = rf"^({_QUALIFIED})?$"
# Of a ConfigMap or Secret: a file name, so neither ".", ".." nor anything that begins with "..".
DATA_KEY_PATTERN = r"^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"

LONGEST_LABEL, LONGEST_SUBDOMAIN = 63, 253
LONGEST_LABEL_KEY = LONGEST_SUBDOMAIN + 1 + LONGEST_LABEL

_HOST_PART = r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
# A host without a dot or a port is written like a part of the path: in upper case it is a misspelt owner ("VLLM/x"), of
# which the container runtime would ask the DNS.
_HOST = rf"({_HOST_PART}([.]{_HOST_PART})+(:[0-9]+)?|{_HOST_PART}:[0-9]+|\[[a-fA-F0-9:]+\](:[0-9]+)?)"
_PATH_PART = r"[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}"
_DIGEST = r"(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})"
# Empty counts as absent.
IMAGE_PATTERN = rf"^(({_HOST}/)?{_PATH_PART}(/{_PATH_PART})*(:{_TAG})?(@{_DIGEST})?)?$"
LONGEST_IMAGE_NAME = 255  # without tag and digest


def has_long_name(image: str) -> bool:
    """Return whether the name in `image`, without tag and digest, is longer than a registry takes."""
    host, slash, rest = image.partition("@")[0].rpartition("/")
    return len(f"{host}{slash}{rest.partition(':')[0]}") > LONGEST_IMAGE_NAME


def has_long_prefix(key: str) -> bool:
    """Return whether the part of a label's key before its slash is longer than a DNS name."""
    prefix, _, _ = key.rpartition("/")
    return len(prefix) > LONGEST_SUBDOMAIN
