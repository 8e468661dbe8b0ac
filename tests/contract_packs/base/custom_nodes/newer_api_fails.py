"""Written for the newer API; it fails when it is asked for its classes."""


async def comfy_entrypoint():
    raise ValueError("no classes today")
