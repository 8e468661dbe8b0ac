"""Classes, of both kinds, that check choices themselves."""

from comfy_api.latest import io


class OldCheck:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"choice": (["one", "two"],)}}

    @classmethod
    def VALIDATE_INPUTS(cls, **kwargs):
        return True if kwargs["choice"] != "bad" else "bad is not good"

    def run(self, choice):
        return (choice,)


class NewCheck(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NewCheck",
            category="test",
            inputs=[io.Combo.Input("choice", options=["one", "two"])],
            outputs=[io.String.Output()],
        )

    @classmethod
    def validate_inputs(cls, choice):
        return True if choice != "bad" else "bad is not good"

    @classmethod
    def execute(cls, choice):
        return io.NodeOutput(choice)


class NewChoice(NewCheck):
    """Has the base's check: one that is inherited counts as well."""

    @classmethod
    def define_schema(cls):
        schema = super().define_schema()
        schema.node_id = "NewChoice"
        return schema


NODE_CLASS_MAPPINGS = {"OldCheck": OldCheck, "NewCheck": NewCheck, "NewChoice": NewChoice}
