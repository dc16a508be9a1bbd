"""Phrasings of what a person may ask, for training records that hold only a picture and a caption; and what other
people's models are told.

Each pool says one wish in many ways, so that the model learns the wish and not the words.  Both languages have the
same pools of the same lengths; which one is used follows from the caption (`language_of`).
"""

from dataclasses import dataclass

import numpy as np

from llmga.registry import Registry


@dataclass(frozen=True)
class Instructions:
    """Pools of one language.

    `describe` … `outpaint` follow a picture.  `generate_before` stands in front of a short request, `generate_after`
    behind it; `elaborate` fits on either side and asks for words only.
    """

    describe: tuple[str, ...]
    regenerate: tuple[str, ...]
    inpaint: tuple[str, ...]
    outpaint: tuple[str, ...]
    generate_before: tuple[str, ...]
    generate_after: tuple[str, ...]
    elaborate: tuple[str, ...]


ENGLISH = Instructions(
    describe=(
        "What do you see here? Tell me everything.",
        "Describe this picture in detail.",
        "Put the contents of this image into words, please.",
        "Give me a full account of what is shown.",
        "Could you explain what this picture contains and how it is arranged?",
        "Write a careful caption for this image.",
        "Tell someone who cannot see it what is in this picture.",
        "Walk me through the picture, from the main subject to the background.",
        "I would like a thorough description of this image.",
        "List the objects, colours and surroundings that appear here.",
        "How would you portray this scene in words?",
        "Please look closely and say what the image shows.",
    ),
    regenerate=(
        "Make another picture like this one.",
        "Generate a similar image.",
        "I want a new picture that looks like this.",
        "Paint this scene again for me.",
        "Could you create an image that resembles this one?",
        "Take this as a model and draw something close to it.",
        "Please produce a variation of this picture.",
        "Use this photo as a reference and make a fresh version.",
        "Show me a second picture in the same spirit.",
        "Recreate what you see here.",
    ),
    inpaint=(
        "Parts of this picture are blacked out; fill them in.",
        "Please repair the missing regions of the image.",
        "Some areas are gone. Paint what should be there.",
        "Complete the holes in this picture so that they fit.",
        "Restore the hidden parts of the photo.",
        "The black patches cover something; bring it back.",
        "Can you mend the damaged places in this image?",
        "Fill the masked area in a way that suits the rest.",
        "Imagine what lies under the black spots and draw it.",
        "Make this picture whole again.",
    ),
    outpaint=(
        "Extend this picture beyond its edges.",
        "The border is black; continue the scene into it.",
        "Please widen the view and paint what lies around.",
        "Grow the image outwards so that it fills the frame.",
        "What would be outside the visible part? Draw it.",
        "Continue the picture over the blank sides.",
        "Enlarge the scene past what is shown.",
        "Finish the surroundings of this image.",
        "Zoom out and complete the rest of the picture.",
        "Carry the picture on where it was cut off.",
    ),
    generate_before=(
        "Draw this for me:",
        "Generate an image of the following:",
        "Please make a picture of",
        "I would like to see",
        "Create an image that shows",
        "Can you paint",
        "Show me a picture of",
        "Turn these words into an image:",
        "Produce an illustration of",
        "Let me have a picture with",
        "Sketch the following scene:",
        "I need an image of",
        "Visualise this idea:",
        "Make me something with",
    ),
    generate_after=(
        "Please draw that.",
        "Make a picture from this description.",
        "Can you generate an image of it?",
        "Paint this for me.",
        "I want to see that as an image.",
        "Turn it into a picture, please.",
        "Create an illustration from the words above.",
        "Show me what that looks like.",
        "Use this idea for a new image.",
        "Could I have a picture of that?",
        "Now make the image.",
        "Visualise it for me.",
    ),
    elaborate=(
        "Tell me more about this scene.",
        "Describe this idea in greater detail.",
        "Please expand this into a full description.",
        "Add the details that are left unsaid.",
        "Imagine the scene and put it into words.",
        "Give a richer version of this caption.",
        "How would this look in detail? Only words, please.",
        "Refine this short description.",
        "Write out the scene with its colours, light and surroundings.",
    ),
)

CHINESE = Instructions(
    describe=(
        "你在这里看到了什么？请全部告诉我。",
        "请详细描述这张图片。",
        "请用文字说出这幅图的内容。",
        "请完整地讲一讲图中有什么。",
        "能解释一下这张图里有什么、是怎样布局的吗？",
        "请为这张图片认真写一段说明。",
        "请向看不见的人讲述这张图片。",
        "请从主体到背景带我看一遍这幅图。",
        "我想要一段对这张图的细致描述。",
        "请列出图中出现的物体、颜色和环境。",
        "你会怎样用文字描绘这个场景？",
        "请仔细观察，然后说说图中展示了什么。",
    ),
    regenerate=(
        "再画一张和这张差不多的图。",
        "请生成一张相似的图片。",
        "我想要一张看起来像这样的新图。",
        "请把这个场景重新画一遍。",
        "能创作一幅与它相像的图片吗？",
        "以它为范本，画一张相近的图。",
        "请做出这张图片的一个变体。",
        "请参考这张照片，重新制作一版。",
        "请再给我一张风格一致的图。",
        "请把你看到的内容重新画出来。",
    ),
    inpaint=(
        "图中有些地方被涂黑了，请补上。",
        "请修复图片里缺失的区域。",
        "有几块内容不见了，请画出应有的样子。",
        "请把图中的空洞补得自然一些。",
        "请还原照片中被遮住的部分。",
        "黑块挡住了东西，请把它恢复出来。",
        "能把这张图里损坏的地方修好吗？",
        "请填补遮挡区域，使它与其余部分协调。",
        "请想象黑斑下面是什么，并画出来。",
        "请让这张图片重新完整。",
    ),
    outpaint=(
        "请把这张图向边缘之外延伸。",
        "边框是黑色的，请把场景接着画过去。",
        "请扩大视野，画出周围的景物。",
        "请让图像向外生长，铺满整个画面。",
        "可见部分之外会是什么？请画出来。",
        "请在空白的两侧继续画下去。",
        "请把场景扩展到画面以外。",
        "请补全这张图的周边环境。",
        "请拉远镜头，完成图片的其余部分。",
        "请从被截断的地方继续画下去。",
    ),
    generate_before=(
        "请帮我画：",
        "请根据以下内容生成一张图片：",
        "请做一张图，内容是",
        "我想看到",
        "请创作一幅图，展示",
        "你能画出",
        "给我看一张图片：",
        "请把这些文字变成图像：",
        "请制作一幅插图：",
        "请给我一张图，里面有",
        "请勾勒下面的场景：",
        "我需要一张图片：",
        "请把这个想法画出来：",
        "帮我做一张图，有",
    ),
    generate_after=(
        "请把它画出来。",
        "请按这段描述做一张图。",
        "能为它生成一张图片吗？",
        "请为我画这个。",
        "我想看到它的图像。",
        "请把它变成一张图片。",
        "请用上面的文字创作一幅插图。",
        "让我看看它的样子。",
        "请用这个想法做一张新图。",
        "能给我一张这样的图吗？",
        "现在请生成图片。",
        "请帮我把它可视化。",
    ),
    elaborate=(
        "请多讲讲这个场景。",
        "请更详细地描述这个想法。",
        "请把它扩写成完整的描述。",
        "请补充没有说出的细节。",
        "请想象这个场景并用文字写出来。",
        "请给出这段说明更丰富的版本。",
        "细看会是什么样子？只用文字回答。",
        "请完善这段简短的描述。",
        "请写出场景的颜色、光线和环境。",
    ),
)

# What a model that never saw our training is told.  One text serves every transport, so that the same model plans the
# same pictures however it is reached.
PLANNING = """\
You talk with a person and direct a painter. The painter is a text-to-image program: it sees nothing of this \
conversation, only the words that you put between <gen_image> and </gen_image>.

When the person wants a picture painted, changed, completed or made again:
- Say one short sentence to the person, then write <gen_image>, a space, the description, a space, </gen_image>.
- Describe the whole picture in English, in one paragraph without line breaks: the subject, its look and pose, the \
surroundings, composition, light, colours and style. Be concrete. Write no names of people or programs and no orders.
- Describe what is to be seen. Leave out what is not to be there.
- If the picture follows an earlier one, write the complete description again with the change worked in.
- If the person shows a picture and wants one like it, describe what you see. Black areas in a picture are holes: \
describe the picture as it looks when they are filled.
- For several pictures, such as the pages of a story, write one pair of tags for each, and repeat in each how every \
character looks.

When the person asks a question, wants a description to read, or only chats, answer in words without any tag. Never \
mention the tags or the painter. Talk in the language of the person.

Example:
Person: a lighthouse at night please
You: Here is a lighthouse keeping watch over the sea. <gen_image> A tall white lighthouse on a rocky headland at \
night, its beam cutting through light mist, dark waves breaking below, a starry deep blue sky, wide shot, soft \
moonlight, realistic photograph. </gen_image>
Person: can it be sunrise instead
You: Now the day begins behind it. <gen_image> A tall white lighthouse on a rocky headland at sunrise, its lamp still \
glowing, golden light on calm waves, a pink and orange sky with thin clouds, wide shot, warm light, realistic \
photograph. </gen_image>

Example:
Person: Which colours go well with teal?
You: Coral, mustard and warm white all look good beside teal."""

INSTRUCTIONS = Registry("language of instructions", {"en": ENGLISH, "zh": CHINESE})


def language_of(text: str) -> str:
    """`zh` when the text holds a Chinese character, else `en`."""
    return "zh" if any("\u4e00" <= character <= "\u9fff" for character in text) else "en"


def instruction(pool: str, caption: str, rng: np.random.Generator, language: str | None = None) -> str:
    """One phrasing of `pool` in `language`, a row of INSTRUCTIONS; None takes the language of the caption."""
    phrases = getattr(INSTRUCTIONS[language or language_of(caption)], pool)
    return phrases[rng.integers(len(phrases))]
