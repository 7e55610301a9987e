"""Build, try and publish a release: `make release-dry-run` and `make release` are its commands.

A release is a wheel, a source distribution, two images, a chart and the operator's bill of materials, all of one
version. Nothing here knows where it is published: the registry, the package index and the signing key are the user's.
"""
