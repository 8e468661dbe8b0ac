class SameName:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "b"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return ("b",)


NODE_CLASS_MAPPINGS = {"SameName": SameName, "EmptyImage": SameName}
