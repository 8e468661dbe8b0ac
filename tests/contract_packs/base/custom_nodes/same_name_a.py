class SameName:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "a"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return ("a",)


NODE_CLASS_MAPPINGS = {"SameName": SameName, "EmptyImage": SameName}
