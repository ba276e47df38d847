"""Texts for the examples of the summarization tab, written for it."""

FILM = """\
The Long Ferry tells the story of two brothers who run the last car ferry on a river that is about to get a bridge. \
Nothing much happens, and that is the point. The older brother, Anton, repairs an engine that will be scrapped in \
the spring; the younger, Milo, sells tickets to fewer people each day and secretly applies for jobs in the city. \
When the bridge company offers them money to stop early, they quarrel for the first time in years.

What makes the film special is its patience. The camera stays with hands, ropes and water, and the actors say less \
than their faces do. The music, a single accordion, could easily have been too sweet, but it is used only four \
times. The last crossing, filmed in one shot of nine minutes, had half of the audience in tears.

It is not perfect. The banker who visits twice belongs in another film, and the middle part is twenty minutes too \
long. Still, I have not seen a better film about work, pride and letting go this year, and I would watch it again \
tomorrow."""

SCIENCE = """\
Octopuses change colour faster than any other animal, and for a long time nobody knew how they managed it while \
being colour-blind. Their skin holds thousands of chromatophores, small sacs of pigment surrounded by muscles. When \
the muscles pull, a sac opens and its colour shows; when they relax, it shrinks to a dot. Below them lie cells that \
reflect light, so that the skin can also turn silver, green or blue.

Because the muscles are wired directly to the brain, a change takes less than a second. But the eyes of an octopus \
have only one kind of light receptor, so it should see the world in shades of grey. Researchers have proposed two \
explanations. The first is that the odd shape of the pupil splits colours, as a prism does, so that an octopus can \
tell them apart by focusing. The second is that the skin itself senses light: the same proteins that work in the eye \
have been found all over the body, and pieces of skin in a dish change colour when a lamp is switched on.

Both may be true. Teams in several countries are now filming animals in tanks with patterned floors, in order to \
find out which signals matter, and engineers are watching closely: a material that matches its surroundings without \
a computer would be useful in clothing, buildings and robots."""

MEETING = """\
Minutes of the garden committee, 4 March. Present: Ana, Bilal, Chen, Dora. Apologies: Edu.

The chair opened the meeting at six. Bilal reported that the water bill had doubled since last year, mostly because \
of a leak near the compost heap, which a plumber can repair on the 11th for 240. It was agreed to pay for this from \
the reserve, and to fit a meter so that leaks are noticed earlier.

Chen presented three offers for the new shed. The cheapest has no floor, the dearest comes with shelves and is built \
for us. After some discussion the committee chose the second offer, at 1,150, with delivery in May. Dora will ask \
the town whether a permit is needed.

There are nine people on the waiting list and two plots that nobody has worked on since August. Ana will write to \
both holders; if there is no answer by the end of the month, the plots go to the next on the list.

The spring market is on 26 April. Volunteers are needed for the cake table and for setting up at seven in the \
morning. The next meeting is on 8 April."""

LETTER = """\
Dear Sir or Madam, on 2 February I ordered a dishwasher from your shop, with delivery and installation, and paid for \
both. Your driver came on the 9th, a day later than promised, and left the machine in the hall of the building \
because, he said, installation was not on his sheet. I rang your service line four times that week. Twice nobody \
answered, once I was cut off, and once I was told that an engineer would come on the 14th between eight and five. I \
took a day off. Nobody came.

A neighbour who is a plumber has since connected it. It now turns out that the door does not close properly, and \
that one of the two baskets is missing. I ask you to refund the 79 for the installation that never took place, to \
send the missing basket, and to repair or exchange the door within fourteen days. Otherwise I will return the \
machine and want my money back. I enclose copies of the receipt and of the plumber's bill."""
