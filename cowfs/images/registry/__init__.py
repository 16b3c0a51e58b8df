"""The client of registries (OCI distribution-spec, docker's registry API v2). The only place that uses requests.

    settings      what a person configured: mirrors, plain http, certificates, a proxy
    credentials   who we are: docker's config.json, its helpers, podman's auth.json
    wire          one request: TLS, redirects, caps, deadlines
    patience      what is tried again, and when
    challenge     WWW-Authenticate as values
    tokens        from a challenge and credentials to an Authorization header
    repository    manifests and blobs of one repository
    download      a blob that goes on where it was cut
    pull, push    what the commands call

What a registry sends is not believed: sizes are capped, digests decide, secrets go to their own registry only.
"""
